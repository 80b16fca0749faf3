//! Priorities for the journal: systemd reads `<3>` at the beginning of a line as "error" (SyslogLevelPrefix=). Lines without one, like
//! what is watched at the start, have the service's own, which is "info".

use std::env;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{self, Format, FormatEvent, FormatFields, Full, Writer};
use tracing_subscriber::registry::LookupSpan;

/// What stands before an error's line.
pub const ERROR: &str = "<3>";

/// Whether standard error is the journal itself, not something that a child or a shell put in its place.
#[must_use]
pub fn is_stderr() -> bool {
    let Ok(stderr) = io::stderr().as_fd().try_clone_to_owned() else {
        return false;
    };
    let (Ok(stream), Ok(metadata)) = (env::var("JOURNAL_STREAM"), File::from(stderr).metadata()) else {
        return false;
    };
    names(&stream, metadata.dev(), metadata.ino())
}

fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream
        .split_once(':')
        .is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// Messages with their priority instead of the word for it.
pub struct Prioritised(Format<Full, ()>);

impl Default for Prioritised {
    fn default() -> Self {
        Self(
            format::format()
                .with_target(false)
                .with_level(false)
                .with_ansi(false)
                .without_time(),
        )
    }
}

impl<S, N> FormatEvent<S, N> for Prioritised
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => ERROR,
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn the_journal_is_told_from_what_stands_in_its_place() {
        assert!(names("8:12345", 8, 12345));
        for stream in ["8:12346", "9:12345", "8", "", ":", "8:12345:1", "x:y"] {
            assert!(!names(stream, 8, 12345), "{stream}");
        }
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_begins_with_its_priority() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(Prioritised::default())
            .with_max_level(Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("lost");
            tracing::warn!("late");
            tracing::info!("began");
            tracing::debug!("done");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "<3>lost\n<4>late\n<6>began\n<7>done\n");
    }
}
