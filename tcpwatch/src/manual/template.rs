//! A configuration file with every option of `tcpwatch run`: what it means, and its default or an example, all of it commented out.
//! Lines that begin with `# ` are text, those that begin with `#` alone are TOML.

use std::fmt::Write as _;

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, Args as _, Command};

use crate::cli::RunArgs;
use crate::config::file;

/// Columns of a line.
const COLUMNS: usize = 100;

const HEADING: &str = "tcpwatch's configuration. Every option is here, with its default or, where there is none, an example. \
                       Take the # away from the lines that you want to change, then: tcpwatch reload";

/// What is written for an option that has no default.
const EXAMPLES: [(&str, &str); 14] = [
    ("interface", "[\"eth0\"]"),
    ("intervals", "1000"),
    ("source", "[\"auto\"]"),
    ("ban", "[\"203.0.113.0/24\", \"2001:db8::/32\"]"),
    ("ban-file", "[\"/etc/tcpwatch/bans\"]"),
    ("served-port", "[\"51820/udp\", \"-8080/tcp\"]"),
    ("format", "\"json\""),
    ("record", "\"/var/log/tcpwatch/records.jsonl\""),
    ("history", "\"/var/lib/tcpwatch/history.db\""),
    ("geo", "[\"/var/lib/tcpwatch/city.mmdb\"]"),
    ("names", "[\"dns\", \"tls\", \"quic\"]"),
    ("by", "[\"country\", \"network\", \"destination\"]"),
    ("pin", "\"/sys/fs/bpf/tcpwatch\""),
    ("slots", "131072"),
];

const REPORTS: &str = r#"
# Reports that are made of the history from time to time, each by a table of its own, behind all options
#[[report]]
#schedule = "daily 08:00"
#format = "html"
#file = "/var/lib/tcpwatch/reports/%Y-%m-%d.html"
"#;

/// The file.
#[must_use]
pub fn text() -> String {
    let mut text = String::new();
    comment(&mut text, HEADING);
    let command = RunArgs::augment_args(Command::new("run"));
    for argument in command.get_arguments() {
        if let Some(name) = argument
            .get_long()
            .filter(|name| !file::TYPED_ONLY.contains(name))
        {
            option(&mut text, name, argument);
        }
    }
    text.push_str(REPORTS);
    text
}

fn option(text: &mut String, name: &str, argument: &Arg) {
    text.push('\n');
    let help = argument.get_long_help().or_else(|| argument.get_help());
    comment(text, &help.map(ToString::to_string).unwrap_or_default());
    for value in argument.get_possible_values() {
        if takes_a_value(argument) && !value.is_hide_set() {
            comment(text, &meaning(&value));
        }
    }
    // Writing to a string does not fail.
    writeln!(text, "#{name} = {}", value(name, argument)).unwrap_or_default();
}

fn takes_a_value(argument: &Arg) -> bool {
    !matches!(argument.get_action(), ArgAction::SetTrue)
}

fn meaning(value: &PossibleValue) -> String {
    match value.get_help() {
        Some(help) => format!("  {}: {help}", value.get_name()),
        None => format!("  {}", value.get_name()),
    }
}

/// The default in TOML, or the example.
fn value(name: &str, argument: &Arg) -> String {
    if !takes_a_value(argument) {
        return "false".to_owned();
    }
    if let Some((_, example)) = EXAMPLES.iter().find(|(option, _)| *option == name) {
        return (*example).to_owned();
    }
    match argument.get_default_values() {
        [default] => literal(&default.to_string_lossy()),
        _ => "\"none\"".to_owned(),
    }
}

fn literal(text: &str) -> String {
    match text.parse::<u64>() {
        Ok(number) => number.to_string(),
        Err(_text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// Text in lines of [`COLUMNS`], an indentation kept.
fn comment(text: &mut String, words: &str) {
    let indentation: String = words.chars().take_while(|c| *c == ' ').collect();
    let mut line = String::new();
    for word in words.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            text.push_str(line.trim_end());
            text.push('\n');
            line.clear();
        }
        if line.is_empty() {
            line = format!("# {indentation}{word}");
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::config::file::File;

    fn parse(text: &str) -> Result<File, String> {
        let command = RunArgs::augment_args(Command::new("run"));
        File::parse(text, "template", &command).map_err(|error| error.to_string())
    }

    /// Every line of TOML in it, as if somebody took its # away.
    fn active() -> String {
        text()
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| !line.starts_with(' '))
            .flat_map(|line| iter::once(line).chain(["\n"]))
            .collect()
    }

    #[test]
    fn as_it_is_it_says_nothing() {
        assert!(
            text()
                .lines()
                .all(|line| line.is_empty() || line.starts_with('#'))
        );
        let command = RunArgs::augment_args(Command::new("run"));
        let nothing = command.clone().try_get_matches_from(["run"]).unwrap();
        assert!(parse(&text()).unwrap().arguments(&nothing, &command).is_empty());
    }

    #[test]
    fn every_option_is_in_it_and_every_line_is_accepted() {
        let active = active();
        let file = parse(&active).unwrap();
        assert_eq!(file.periodic.len(), 1);
        let command = RunArgs::augment_args(Command::new("run"));
        for name in command.get_arguments().filter_map(Arg::get_long) {
            let there = active.contains(&format!("{name} = "));
            assert_eq!(there, !file::TYPED_ONLY.contains(&name), "{name}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_command_line() {
        for line in [
            "#interval = \"20s\"",
            "#spill = 131072",
            "#history-keep = \"48h/30d/730d\"",
            "#attach = \"auto\"",
        ] {
            assert!(text().lines().any(|found| found == line), "{line}\n{}", text());
        }
        assert!(
            text().lines().all(|line| line.chars().count() <= COLUMNS + 20),
            "{}",
            text()
        );
    }

    #[test]
    fn an_example_is_of_an_option() {
        let command = RunArgs::augment_args(Command::new("run"));
        for (name, _) in EXAMPLES {
            assert!(
                command
                    .get_arguments()
                    .any(|argument| argument.get_long() == Some(name)),
                "{name}"
            );
        }
    }
}
