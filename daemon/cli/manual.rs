//! The manual and the completions, made from the table of verbs.
//!
//! The pages are kept in `man/` beside this file, so that whoever packages musicfs finds them and a change of the table is
//! seen in what it changes; a test compares them with what this module makes. clap renders the parts that it knows; exit
//! codes, files and the other pages are added here, where clap would put them into one paragraph called EXTRA.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Context;
use super::exit::{CliError, EXIT_CODES};
use super::verbs::Cli;

/// The files that every page ends with, and what each is.
const FILES: &[(&str, &str)] = &[
    ("/etc/musicfs/config.toml", "the configuration of the machine"),
    ("$XDG_CONFIG_HOME/musicfs/config.toml", "the configuration of the user, which goes before the machine's"),
    ("$XDG_STATE_HOME/musicfs", "the catalog: losing it makes players add everything again"),
    ("$XDG_CACHE_HOME/musicfs", "the cache, which any cleaner may delete"),
    ("$XDG_RUNTIME_DIR/musicfs/control.sock", "the control socket"),
];

/// One page.
struct Page {
    /// `musicfs-origin-rescan`.
    name: String,
    text: Vec<u8>,
}

pub(super) fn man(ctx: &mut Context<'_>, verb: &[String], into: Option<&Path>) -> Result<(), CliError> {
    let pages = pages()?;
    if let Some(folder) = into {
        std::fs::create_dir_all(folder)?;
        for page in &pages {
            std::fs::write(folder.join(format!("{}.1", page.name)), &page.text)?;
        }
        return ctx.say(&format!("{} pages written", pages.len()));
    }
    let wanted = std::iter::once("musicfs").chain(verb.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
    let page = pages.into_iter().find(|page| page.name == wanted);
    let page = page.ok_or_else(|| CliError::NoPage { verb: verb.join(" ") })?;
    Ok(ctx.out.write_all(&page.text)?)
}

pub(super) fn completions(ctx: &mut Context<'_>, shell: Shell) -> Result<(), CliError> {
    // The generator panics when it cannot write, and a closed pipe is no error here.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "musicfs", &mut script);
    Ok(ctx.out.write_all(&script)?)
}

/// Every page: that of the program, then those of its verbs.
fn pages() -> Result<Vec<Page>, CliError> {
    let mut program = Cli::command();
    program.build();
    let mut pages = Vec::new();
    let mut commands = vec![&program];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|verb| !verb.is_hide_set()));
        pages.push(Page { name: name(command), text: page(command)? });
    }
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pages)
}

fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command) -> Result<Vec<u8>, CliError> {
    let version = concat!("musicfs ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(version).manual("musicfs");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    endings(command).to_writer(&mut text)?;
    Ok(text)
}

fn endings(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let mut list = |heading: &str, pairs: &mut dyn Iterator<Item = (&str, &str)>| {
        roff.control("SH", [heading]);
        for (term, meaning) in pairs {
            roff.control("TP", []).text([bold(term)]).text([roman(meaning)]);
        }
    };
    list("EXIT STATUS", &mut EXIT_CODES.lines().filter_map(|line| line.trim_start().split_once("  ")));
    list("FILES", &mut FILES.iter().copied());
    if name(command) != "musicfs" {
        roff.control("SH", ["SEE ALSO"]).text([bold("musicfs"), roman("(1)")]);
    }
    roff
}
