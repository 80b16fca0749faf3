//! Following the network while watching: changed addresses, interfaces that come and go, the default route, the hooks.

use std::sync::Arc;

use tokio::time::Instant;

use super::{ANSWER, HOOK_CHECK, Pipeline, PipelineError, look};
use crate::kernel::drain::CounterSource;
use crate::kernel::policy::{PolicySet, PortBits};
use crate::record::Record;

/// Socket buffers by which it is judged whether most are answers to clients.
const ENOUGH: u64 = 100;

impl Pipeline {
    /// Looks at the network again. New own addresses are in force with the generation that begins here; only then is the
    /// program attached to new interfaces, so that their first packet meets the right policy.
    pub(super) async fn follow_network(&mut self) -> Result<(), PipelineError> {
        self.look_again = false;
        let (present, defaults) = match look(&self.network, &self.config).await {
            Ok(seen) => seen,
            Err(error) => {
                self.look_again = true;
                tracing::warn!(
                    "cannot follow the network's changes: {:#}",
                    anyhow::Error::from(error)
                );
                return Ok(());
            }
        };
        let changes = self.watch.update(&present, &defaults);
        self.defaults = defaults;
        if let Some(policy) = changes.policy {
            self.set_policy(policy);
        }
        if !self.put_policy_in_force().await? {
            self.look_again = true;
            return Ok(());
        }
        if self.watch.attach_late(changes.attach).await {
            self.watch.release(&changes.release);
        } else {
            self.look_again = true;
        }
        Ok(())
    }

    pub(super) fn set_policy(&mut self, policy: PolicySet) {
        if let Some(naming) = &mut self.naming {
            naming.set_policy(&policy);
        }
        if let Some(source) = &mut self.source {
            source.set_policy(policy);
        }
    }

    /// Leaves out packets from other ports than before.
    pub(super) async fn follow_served(&mut self, ports: Arc<PortBits>) -> Result<(), PipelineError> {
        self.watch.set_served(ports);
        self.set_policy(self.watch.policy().clone());
        self.look_again |= !self.put_policy_in_force().await?;
        Ok(())
    }

    /// After the first records: says whether most of what was counted answers clients, and has that noted no longer.
    pub(super) fn suggest_skipping(&mut self, record: &Record) {
        self.noted += record.skbs;
        if self.noted < ENOUGH {
            return;
        }
        let answers = self.source.as_mut().map_or(0, |source| source.tables().answers());
        if answers > self.noted / 2 {
            tracing::info!(
                "most of what leaves ({} % until record {}) answers clients of this host: --skip-served leaves that out",
                answers.saturating_mul(100) / self.noted,
                record.seq
            );
        }
        self.watch.forget_served();
        self.set_policy(self.watch.policy().clone());
    }

    /// Drains until packets are counted under the policy that is wanted. False: that has to wait.
    pub(super) async fn put_policy_in_force(&mut self) -> Result<bool, PipelineError> {
        // Two: the first may only complete a drain that had failed.
        for _ in 0..2 {
            if self.source.as_ref().is_some_and(CounterSource::policy_in_force) {
                return Ok(true);
            }
            if let Err(error) = self.drain().await? {
                tracing::error!(
                    "changed addresses and ports take effect later, cannot drain the kernel tables: {:#}",
                    anyhow::Error::from(error)
                );
                return Ok(false);
            }
        }
        Ok(self.source.as_ref().is_some_and(CounterSource::policy_in_force))
    }

    /// Asks where the default route leads, which no message tells, and follows it when it has moved.
    pub(super) async fn follow_route(&mut self) -> Result<(), PipelineError> {
        match tokio::time::timeout(ANSWER, self.network.defaults()).await {
            Ok(Ok(defaults)) if defaults == self.defaults => Ok(()),
            // Also when the question failed: the whole look says why.
            Ok(_) | Err(_) => self.follow_network().await,
        }
    }

    /// Sees to it that the program is where it should be.
    pub(super) async fn check_hooks(&mut self) -> Result<(), PipelineError> {
        if self.hooks_checked.elapsed() < HOOK_CHECK {
            return Ok(());
        }
        self.hooks_checked = Instant::now();
        let removed = tokio::time::timeout(ANSWER, self.watch.notice_removed())
            .await
            .unwrap_or(false);
        if removed || self.look_again {
            self.follow_network().await?;
        }
        Ok(())
    }
}
