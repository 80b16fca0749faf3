//! The child process that makes one report, and the one that takes it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{fs, io};

use tokio::process::{Child, Command};

/// This very program, also when its file has been replaced by a newer one since.
const OURSELVES: &str = "/proc/self/exe";

/// A report that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// One report on its way.
pub(super) struct Job {
    /// By which the log knows it.
    pub(super) name: String,
    /// Of `tcpwatch report`.
    pub(super) arguments: Vec<String>,
    /// Where it is written to; none: a command gets it.
    pub(super) file: Option<PathBuf>,
    /// The command, in words.
    pub(super) command: Vec<String>,
}

/// Why a report was not made.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("cannot make {}", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    #[error("cannot start {0}")]
    Start(String, #[source] io::Error),
    #[error("{0} failed ({1}){2}")]
    Failed(String, std::process::ExitStatus, String),
    #[error("it was not ready after {} minutes", PATIENCE.as_secs() / 60)]
    Late,
}

impl Job {
    /// Makes it, and says how that ended.
    pub(super) async fn run(self) {
        let name = self.name.clone();
        let outcome = match tokio::time::timeout(PATIENCE, self.make()).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(JobError::Late),
        };
        match outcome {
            Ok(()) => tracing::info!("report made: {name}"),
            Err(error) => tracing::error!("report not made: {name}: {:#}", anyhow::Error::from(error)),
        }
    }

    async fn make(self) -> Result<(), JobError> {
        let mut report = Command::new(OURSELVES);
        report.arg("report").args(&self.arguments);
        if let Some(file) = &self.file {
            if let Some(directory) = file.parent().map(Path::to_owned) {
                make_directory(directory).await?;
            }
            report.arg("-o").arg(file);
            let child = start(
                report.stdin(Stdio::null()).stdout(Stdio::null()),
                "tcpwatch report",
            )?;
            return ended(child, "tcpwatch report").await;
        }
        let Some((program, arguments)) = self.command.split_first() else {
            return Ok(()); // a report has a file or a command
        };
        let (reading, writing) = io::pipe().map_err(|error| JobError::Start(program.clone(), error))?;
        let child = start(report.stdin(Stdio::null()).stdout(writing), "tcpwatch report")?;
        // It holds our end of the pipe, without which the reader would never see the end.
        drop(report);
        let mut taking = Command::new(program);
        let reader = start(
            taking.args(arguments).stdin(reading).stdout(Stdio::null()),
            program,
        )?;
        // And this the other end, without which the report sees when nobody reads it.
        drop(taking);
        let (made, taken) = tokio::join!(ended(child, "tcpwatch report"), ended(reader, program));
        made.and(taken)
    }
}

/// On a thread that may wait for the disk.
async fn make_directory(directory: PathBuf) -> Result<(), JobError> {
    let path = directory.clone();
    tokio::task::spawn_blocking(move || fs::create_dir_all(path))
        .await
        .map_err(io::Error::other)
        .and_then(|made| made)
        .map_err(|error| JobError::Directory(directory, error))
}

/// A child that ends with its job.
fn start(command: &mut Command, name: &str) -> Result<Child, JobError> {
    command
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| JobError::Start(name.to_owned(), error))
}

async fn ended(child: Child, name: &str) -> Result<(), JobError> {
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| JobError::Start(name.to_owned(), error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    let last = last.map_or_else(String::new, |line| {
        format!(
            ": {}",
            line.chars()
                .filter(|c| !c.is_control())
                .take(300)
                .collect::<String>()
        )
    });
    Err(JobError::Failed(name.to_owned(), output.status, last))
}
