//! The hooks for what arrives: without them there are no names by DNS, but packets that leave are counted all the same.

use tcpwatch_common::POLICY_DNS;

use super::{Watch, Watched};
use crate::kernel::attach::{AttachError, Attacher, Attachment, Direction};

/// The hook for name servers' answers.
#[derive(Debug)]
pub(super) enum Incoming {
    /// They are not asked for.
    Unwanted,
    /// It is where it should be.
    Attached(Attachment),
    /// It is to be attached.
    Missing {
        /// Whether a failure was said.
        said: bool,
    },
}

impl Incoming {
    /// To be attached, if samples of answers are to be taken.
    pub(super) const fn new(samples: u64) -> Self {
        if samples & POLICY_DNS == 0 {
            Self::Unwanted
        } else {
            Self::Missing { said: false }
        }
    }
}

impl Watch {
    /// Attaches to the watched interfaces, for what arrives, where that is wanted.
    ///
    /// # Errors
    /// The first that cannot be attached to.
    pub async fn attach_incoming(&mut self) -> Result<(), AttachError> {
        for (index, watched) in &mut self.watched {
            if matches!(watched.incoming, Incoming::Missing { .. }) {
                attach(&mut self.attacher, *index, watched).await?;
            }
        }
        Ok(())
    }

    /// The same while watching: a failure is said once and tried again at the next look.
    pub(super) async fn mend_incoming(&mut self) {
        for (index, watched) in &mut self.watched {
            let Incoming::Missing { said } = watched.incoming else {
                continue;
            };
            if let Err(error) = attach(&mut self.attacher, *index, watched).await
                && !said
            {
                watched.incoming = Incoming::Missing { said: true };
                tracing::error!(
                    "{}: no names by DNS, trying again: {:#}",
                    watched.interface.name,
                    anyhow::Error::from(error)
                );
            }
        }
    }
}

async fn attach(attacher: &mut Attacher, index: u32, watched: &mut Watched) -> Result<(), AttachError> {
    let Some(layer) = watched.interface.layer else {
        return Ok(());
    };
    let name = &watched.interface.name;
    let attachment = attacher.attach(name, index, layer, Direction::Ingress).await?;
    watched.incoming = Incoming::Attached(attachment);
    Ok(())
}
