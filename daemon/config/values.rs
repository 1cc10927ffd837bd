//! Kinds of values and how they are read: switches, numbers with a range, sizes, times, choices.
//!
//! A value comes from a file as TOML has it or from a variable as text; both end as the same [`Setting`]. What does not
//! fit is answered with what was expected, and the value itself is never repeated: a value in the wrong place may be a
//! secret.

use std::ffi::OsString;
use std::time::Duration;

use bytesize::ByteSize;
use figment::value::Value;
use serde_json::json;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// true or false.
    Switch,
    /// true, false or "auto".
    SwitchOrAuto,
    /// A whole number within a range.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path of this machine.
    Path,
    /// Where an origin is.
    Location,
    /// Bytes, with a unit.
    Size,
    /// A time, with a unit, within a range.
    Time {
        /// The shortest.
        min_secs: u64,
        /// The longest.
        max_secs: u64,
    },
    /// Permission bits as text in octal.
    Octal,
    /// A list of texts.
    List,
}

/// A value that fits its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Of [`Kind::Switch`].
    Switch(bool),
    /// Of [`Kind::Number`].
    Number(u64),
    /// Of [`Kind::Text`], [`Kind::Choice`] and [`Kind::SwitchOrAuto`].
    Text(String),
    /// Of [`Kind::Path`] and [`Kind::Location`], as it was written; bytes, because a flag may not be UTF-8.
    Raw(OsString),
    /// Of [`Kind::Size`], in bytes.
    Size(u64),
    /// Of [`Kind::Time`].
    Time(Duration),
    /// Of [`Kind::Octal`].
    Octal(u32),
    /// Of [`Kind::List`].
    List(Vec<String>),
}

impl Kind {
    /// What is expected, for an error.
    pub fn expected(self) -> String {
        match self {
            Self::Switch => "true or false".to_owned(),
            Self::SwitchOrAuto => "true, false or \"auto\"".to_owned(),
            Self::Number { min, max } => format!("a whole number from {min} to {max}"),
            Self::Text => "a text".to_owned(),
            Self::Choice(words) => format!("one of \"{}\"", words.join("\", \"")),
            Self::Path => "a path as text".to_owned(),
            Self::Location => "a location as text: a path, sftp://… or s3://…".to_owned(),
            Self::Size => "a size as text with its unit, such as \"10GiB\"".to_owned(),
            Self::Time { min_secs, max_secs } => format!(
                "a time as text with its unit, such as \"60s\", from {} to {}",
                humantime::format_duration(Duration::from_secs(min_secs)),
                humantime::format_duration(Duration::from_secs(max_secs))
            ),
            Self::Octal => "permission bits as text in octal, such as \"022\"".to_owned(),
            Self::List => "a list of texts".to_owned(),
        }
    }

    /// Reads a value of a file; nothing when it does not fit.
    pub fn read(self, value: &Value) -> Option<Setting> {
        match (self, value) {
            (Self::Switch, Value::Bool(_, switch)) => Some(Setting::Switch(*switch)),
            (Self::SwitchOrAuto, Value::Bool(_, switch)) => Some(Setting::Text(switch.to_string())),
            (Self::Number { min, max }, Value::Num(..)) => {
                // TOML's numbers are signed, those of variables are not.
                let signed = value.to_i128().and_then(|number| u64::try_from(number).ok());
                let number = signed.or_else(|| value.to_u128().and_then(|number| u64::try_from(number).ok()));
                number.filter(|number| (min..=max).contains(number)).map(Setting::Number)
            }
            (Self::List, Value::Array(_, items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<Vec<_>>>().map(Setting::List)
            }
            (_, Value::String(_, text)) => self.read_word(text),
            _ => None,
        }
    }

    fn read_word(self, text: &str) -> Option<Setting> {
        match self {
            Self::Text => Some(Setting::Text(text.to_owned())),
            Self::SwitchOrAuto => (text == "auto").then(|| Setting::Text(text.to_owned())),
            Self::Choice(words) => words.contains(&text).then(|| Setting::Text(text.to_owned())),
            Self::Path | Self::Location => Some(Setting::Raw(text.into())),
            Self::Size => text.parse::<ByteSize>().ok().map(|size| Setting::Size(size.as_u64())),
            Self::Time { min_secs, max_secs } => {
                let range = Duration::from_secs(min_secs)..=Duration::from_secs(max_secs);
                humantime::parse_duration(text).ok().filter(|time| range.contains(time)).map(Setting::Time)
            }
            Self::Octal => {
                let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
                let bits = u32::from_str_radix(text, 8).ok().filter(|&bits| is_octal && bits <= 0o777);
                bits.map(Setting::Octal)
            }
            Self::Switch | Self::Number { .. } | Self::List => None,
        }
    }

    /// The value that a text stands for where there are no types: in a variable and in the table of keys. The items of a
    /// list are separated by commas.
    pub fn value_of_text(self, text: &str) -> Value {
        let number = |text: &str| text.parse::<u64>().map(Value::from).ok();
        let switch = |text: &str| text.parse::<bool>().map(Value::from).ok();
        let typed = match self {
            Self::Switch | Self::SwitchOrAuto => switch(text),
            Self::Number { .. } => number(text),
            Self::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::from(items.map(Value::from).collect::<Vec<_>>()))
            }
            _ => None,
        };
        typed.unwrap_or_else(|| Value::from(text))
    }

    /// Reads a text where there are no types.
    pub fn read_text(self, text: &str) -> Result<Setting, String> {
        self.read(&self.value_of_text(text)).ok_or_else(|| self.expected())
    }
}

impl Setting {
    /// The value in outputs.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Switch(switch) => json!(switch),
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Raw(raw) => json!(musicfs_pure::escape::escape(raw.as_encoded_bytes())),
            Self::Size(bytes) => json!(exact_size(*bytes)),
            Self::Time(time) => json!(humantime::format_duration(*time).to_string()),
            Self::Octal(bits) => json!(format!("{bits:03o}")),
            Self::List(items) => json!(items),
        }
    }
}

/// A size in the largest unit that loses nothing.
fn exact_size(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written_back() {
        for (kind, text) in [
            (Kind::Size, "10GiB"),
            (Kind::Size, "1536MiB"),
            (Kind::Time { min_secs: 0, max_secs: 100 }, "18s"),
            (Kind::Octal, "022"),
        ] {
            assert_eq!(kind.read_text(text).expect(text).to_json(), json!(text));
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let time = Kind::Time { min_secs: 1, max_secs: 60 };
        for (kind, text) in [
            (Kind::Switch, "yes"),
            (Kind::SwitchOrAuto, "maybe"),
            (Kind::Number { min: 1, max: 5 }, "6"),
            (Kind::Number { min: 0, max: 5 }, "-1"),
            (Kind::Choice(&["a", "b"]), "c"),
            (Kind::Size, "ten"),
            (time, "61s"),
            (time, "10"),
            (time, "999999999999999999999999s"),
            (Kind::Octal, "8"),
            (Kind::Octal, "+22"),
            (Kind::Octal, "7777"),
        ] {
            assert!(kind.read_text(text).is_err(), "{kind:?} {text}");
        }
    }

    #[test]
    fn text_in_a_file_is_no_number_and_no_switch() {
        assert_eq!(Kind::Switch.read(&Value::from("true")), None);
        assert_eq!(Kind::Number { min: 0, max: 9 }.read(&Value::from("3")), None);
        assert_eq!(Kind::Text.read(&Value::from(3)), None);
        assert_eq!(Kind::List.read(&Value::from(vec![Value::from("a"), Value::from(1)])), None);
    }
}
