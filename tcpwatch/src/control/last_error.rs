//! The last error that was logged, so that `tcpwatch status` can say it.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::status::ErrorState;

/// The longest text that is kept, in characters.
const MOST_CHARS: usize = 500;

static LAST: Mutex<Option<ErrorState>> = Mutex::new(None);

/// The last error; none: there was none.
pub fn last() -> Option<ErrorState> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Keeps what is logged as an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastError;

impl<S: Subscriber> Layer<S> for LastError {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut message = Message::default();
        event.record(&mut message);
        let text = message.0.split_whitespace().collect::<Vec<_>>().join(" ");
        let error = ErrorState {
            time: Timestamp::now(),
            text: text.chars().take(MOST_CHARS).collect(),
        };
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn the_last_error_is_kept_as_one_line_and_warnings_are_not() {
        let subscriber = tracing_subscriber::registry().with(LastError);
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("{} is\nlost", "everything");
            tracing::warn!("later, and less");
        });
        assert_eq!(last().unwrap().text, "everything is lost");
    }
}
