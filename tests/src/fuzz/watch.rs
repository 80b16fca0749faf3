//! Work on hostile input under supervision: it may neither panic nor stand still, and the input that made it do so is
//! kept.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long one step, an opening or a look-up, may take.
pub const LONGEST_STEP: Duration = Duration::from_secs(1);

/// How often the supervisor looks.
const GLANCE: Duration = Duration::from_millis(20);

/// What the work may use of the stack; a thread of Rust's has twice as much, unless told otherwise.
const STACK_BYTES: usize = 1 << 20;

/// Held by who measures time or needs a processor for long.
pub static ALONE: Mutex<()> = Mutex::new(());

/// What went wrong.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// A panic, with its text.
    Panicked(String),
    /// A step took longer than [`LONGEST_STEP`], without what a panic's report takes: with a backtrace, that may be long.
    Hung,
}

thread_local! {
    /// Becomes true when the thread panics.
    static PANICS: RefCell<Arc<AtomicBool>> = RefCell::default();
}

/// What reports a panic.
type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Reports a panic by `report`, and says before that that there is one.
fn announcing(report: Hook) -> Hook {
    Box::new(move |info| {
        PANICS.with_borrow(|panics| panics.store(true, Ordering::Release));
        report(info);
    })
}

/// How the work failed, and on what.
#[derive(Debug)]
pub struct Failure {
    /// The name of the case.
    pub case: String,
    /// What was being done.
    pub step: String,
    /// How it failed.
    pub fault: Fault,
    /// The file that did it.
    pub input: PathBuf,
}

/// What the work is at: it says so itself, and the supervisor reads it.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Entry>>);

struct Entry {
    case: String,
    input: Arc<[u8]>,
    step: String,
    since: Instant,
    slowest: (Duration, String),
}

impl Log {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Entry {
            case: String::new(),
            input: Arc::default(),
            step: String::new(),
            since: Instant::now(),
            slowest: (Duration::ZERO, String::new()),
        })))
    }

    /// A case begins.
    pub fn case(&self, name: &str, input: &Arc<[u8]>) {
        let mut entry = self.entry();
        name.clone_into(&mut entry.case);
        entry.input = Arc::clone(input);
        entry.step = "preparing it".to_owned();
        entry.since = Instant::now();
    }

    /// Does one step.
    pub fn step<T>(&self, what: impl Fn() -> String, work: impl FnOnce() -> T) -> T {
        {
            let mut entry = self.entry();
            entry.step = what();
            entry.since = Instant::now();
        }
        let done = work();
        let mut entry = self.entry();
        let taken = entry.since.elapsed();
        if taken > entry.slowest.0 {
            entry.slowest = (taken, format!("{}, {}", entry.step, entry.case));
        }
        entry.since = Instant::now();
        done
    }

    /// The step that took longest, and how long.
    pub fn slowest(&self) -> (Duration, String) {
        self.entry().slowest.clone()
    }

    fn takes_too_long(&self) -> bool {
        self.entry().since.elapsed() > LONGEST_STEP
    }

    fn entry(&self) -> MutexGuard<'_, Entry> {
        // A panic while the log was held has not changed it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, fault: Fault) -> Failure {
        let entry = self.entry();
        Failure {
            case: entry.case.clone(),
            step: entry.step.clone(),
            fault,
            input: keep(&entry.input),
        }
    }
}

/// Does `work` on a thread of its own.
///
/// # Errors
///
/// It panicked, or a step took too long; then the thread is left to itself.
pub fn supervise<T: Send + 'static>(work: impl FnOnce(&Log) -> T + Send + 'static) -> Result<T, Failure> {
    static ANNOUNCED: Once = Once::new();
    ANNOUNCED.call_once(|| panic::set_hook(announcing(panic::take_hook())));
    let log = Log::new();
    let panics = Arc::new(AtomicBool::new(false));
    let (finished, ending) = mpsc::channel();
    let worker = {
        let log = log.clone();
        let panics = Arc::clone(&panics);
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                PANICS.set(panics);
                // Nobody waits any more for what took too long.
                finished.send(work(&log)).unwrap_or(());
            })
            .unwrap()
    };
    loop {
        match ending.recv_timeout(GLANCE) {
            Ok(done) => return Ok(done),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if log.takes_too_long() && !panics.load(Ordering::Acquire) {
                    return Err(log.fail(Fault::Hung));
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let panic = worker.join().expect_err("it ended without an answer");
                return Err(log.fail(Fault::Panicked(text(panic.as_ref()))));
            }
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

/// Writes the input where it survives the test.
fn keep(input: &[u8]) -> PathBuf {
    let (mut file, path) = tempfile::Builder::new()
        .prefix("tcpwatch-hostile-")
        .tempfile()
        .and_then(|file| file.keep().map_err(|error| error.error))
        .unwrap();
    std::io::Write::write_all(&mut file, input).unwrap();
    path
}

/// Removes what [`keep`] wrote, once a test has seen that it is there.
pub fn forget(input: &Path) {
    std::fs::remove_file(input).unwrap();
}

#[test]
fn a_panic_and_a_hang_are_told_from_each_other_and_the_input_is_kept() {
    let input: Arc<[u8]> = Arc::from(*b"the input");
    let given = Arc::clone(&input);
    let failure = supervise(move |log| {
        log.case("first", &given);
        log.step(|| "a step".to_owned(), || panic!("too {}", "bad"));
    })
    .unwrap_err();
    assert_eq!(failure.fault, Fault::Panicked("too bad".to_owned()));
    assert_eq!((&*failure.case, &*failure.step), ("first", "a step"));
    assert_eq!(std::fs::read(&failure.input).unwrap(), *input);
    forget(&failure.input);

    let (release, released) = mpsc::channel::<()>();
    let failure = supervise(move |log| {
        log.case("second", &input);
        log.step(|| "another".to_owned(), || released.recv().unwrap_err());
    })
    .unwrap_err();
    assert_eq!(failure.fault, Fault::Hung);
    assert_eq!((&*failure.case, &*failure.step), ("second", "another"));
    forget(&failure.input);
    drop(release);

    assert_eq!(supervise(|_| 7).unwrap(), 7, "the control");
}

thread_local! {
    /// Whether reporting the thread's panic takes long.
    static SLOW: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn a_panic_is_no_hang_however_long_its_report_takes() {
    let slowly: fn(Hook) -> Hook = |report| {
        Box::new(move |info| {
            if SLOW.get() {
                thread::sleep(LONGEST_STEP * 2);
            }
            report(info);
        })
    };
    let fails = || {
        let failure = supervise(|log| {
            SLOW.set(true);
            log.step(|| "a step".to_owned(), || panic!("too bad"));
        })
        .unwrap_err();
        forget(&failure.input);
        failure.fault
    };
    assert_eq!(supervise(|_| 7).unwrap(), 7, "from here on, panics are announced");
    panic::set_hook(slowly(panic::take_hook()));
    assert_eq!(
        fails(),
        Fault::Hung,
        "the control: it is announced after its report"
    );
    panic::set_hook(announcing(panic::take_hook()));
    assert_eq!(fails(), Fault::Panicked("too bad".to_owned()));
}
