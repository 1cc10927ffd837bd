//! Wire types of `config.reload`: key by key, what was, what is wanted, and whether it is so now.
//!
//! A key that needs a restart is told every time, not once: as long as the daemon runs with another value than the one
//! that is configured, a reload says so.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a reload found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReloadReply {
    /// Keys whose configured value is not the one that the daemon ran with, by name.
    pub keys: Vec<ReloadRow>,
    /// What is odd in the configuration and was passed over.
    pub warnings: Vec<String>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReloadRow {
    /// Dotted.
    pub key: String,
    /// What the daemon ran with; null for none.
    pub old: Value,
    /// What the configuration says; null for nothing.
    pub new: Value,
    /// Whether it is so now.
    pub outcome: ReloadOutcome,
}

/// What became of a changed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// The daemon runs with the new value.
    Applied,
    /// The daemon keeps the old value until it is started again.
    RestartNeeded,
}

impl ReloadOutcome {
    /// The words in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::RestartNeeded => "restart to apply",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reply_is_frozen_to_the_byte() {
        let row = ReloadRow {
            key: "umask".to_owned(),
            old: json!("000"),
            new: Value::Null,
            outcome: ReloadOutcome::RestartNeeded,
        };
        let reply = ReloadReply { keys: vec![row], warnings: Vec::new() };
        assert_eq!(
            serde_json::to_string(&reply).expect("serialises"),
            r#"{"keys":[{"key":"umask","old":"000","new":null,"outcome":"restart_needed"}],"warnings":[]}"#
        );
    }
}
