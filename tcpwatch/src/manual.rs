//! What tcpwatch says of itself, in others' forms: a configuration file with every option ([`template`]), completions for shells, man
//! pages. All of it is made of the command line's own description.

pub mod template;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;

/// Arguments of `tcpwatch completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that they are for
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `tcpwatch man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write all pages into this directory, which is made; without it, the main page goes to stdout
    directory: Option<PathBuf>,
}

/// What could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    /// The answer.
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
    /// The pages.
    #[error("cannot write man pages into {}", .0.display())]
    Directory(PathBuf, #[source] io::Error),
}

/// `tcpwatch config`.
///
/// # Errors
/// stdout takes nothing.
pub fn config(stdout: &mut dyn Write) -> Result<(), ManualError> {
    answer(stdout, template::text().as_bytes())
}

/// `tcpwatch completions`.
///
/// # Errors
/// stdout takes nothing.
pub fn completions(args: &CompletionsArgs, stdout: &mut dyn Write) -> Result<(), ManualError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tcpwatch", &mut script);
    answer(stdout, &script)
}

/// `tcpwatch man`, of `command`, which knows its version.
///
/// # Errors
/// stdout or the directory takes nothing.
pub fn man(args: &ManArgs, command: Command, stdout: &mut dyn Write) -> Result<(), ManualError> {
    let Some(directory) = &args.directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(ManualError::Stdout)?;
        return answer(stdout, &page);
    };
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command.disable_help_subcommand(true), directory))
        .map_err(|source| ManualError::Directory(directory.clone(), source))
}

/// Nobody reads to the end: that is how a pipeline ends.
fn answer(stdout: &mut dyn Write, bytes: &[u8]) -> Result<(), ManualError> {
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ManualError::Stdout(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_its_options_are_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let args = ManArgs {
            directory: Some(directory.path().join("man1")),
        };
        man(&args, Cli::command(), &mut Vec::new()).unwrap();
        let page = |name: &str| fs::read_to_string(directory.path().join("man1").join(name)).unwrap();
        assert!(
            page("tcpwatch.1").contains("tcpwatch\\-run(1)"),
            "{}",
            page("tcpwatch.1")
        );
        assert!(page("tcpwatch-run.1").contains("\\-\\-ban\\-file"));
        assert!(page("tcpwatch-geo-lookup.1").starts_with(".ie"));
    }

    #[test]
    fn completions_know_commands_and_options() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            completions(&CompletionsArgs { shell }, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(
                script.contains("ban-file") && script.contains("completions"),
                "{shell}"
            );
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_error() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        config(&mut Gone).unwrap();
    }
}
