//! A real browser, driven over a pair of pipes by its debugging protocol: pages are opened from files, read, clicked, and whatever they
//! ask of the network or complain of is kept.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser without a page takes seconds to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Chromium, which ends when this is dropped.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    session: String,
    requests: Vec<String>,
    complaints: Vec<String>,
    loaded: bool,
    profile: TempDir,
}

impl Browser {
    /// Starts it with an empty profile and an empty page.
    ///
    /// # Panics
    ///
    /// When there is none, or it does not start.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a directory for the profile");
        // The protocol wants descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
                "sh",
            ])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--force-device-scale-factor=1",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh can be started");
        let commands = child.stdin.take().expect("it was asked for");
        let output = child.stdout.take().expect("it was asked for");
        let (send, messages) = channel();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut message = Vec::new();
            while matches!(output.read_until(0, &mut message), Ok(1..)) {
                message.pop();
                let parsed = serde_json::from_slice(&message).expect("the browser speaks JSON");
                message.clear();
                if send.send(parsed).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            child,
            commands,
            messages,
            last: 0,
            session: String::new(),
            requests: Vec::new(),
            complaints: Vec::new(),
            loaded: false,
            profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attached = browser.call(
            "Target.attachToTarget",
            &json!({"targetId": target["targetId"], "flatten": true}),
        );
        attached["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        for domain in ["Page", "Network", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Sets the size of the window, and whether the person at it likes it dark.
    pub fn look(&mut self, width: u32, height: u32, dark: bool) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}),
        );
        let scheme = if dark { "dark" } else { "light" };
        self.call(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    /// Opens a file and waits until it is there. What was asked for and complained of before is forgotten.
    ///
    /// # Panics
    ///
    /// When it is not loaded in time.
    pub fn open(&mut self, file: &Path) {
        self.requests.clear();
        self.complaints.clear();
        self.loaded = false;
        self.call(
            "Page.navigate",
            &json!({"url": format!("file://{}", file.display())}),
        );
        let deadline = Instant::now() + PATIENCE;
        while !self.loaded {
            self.next(deadline);
        }
    }

    /// The value of an expression in the page.
    ///
    /// # Panics
    ///
    /// When it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let result = self.call(
            "Runtime.evaluate",
            &json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Clicks the middle of the first element that a selector finds, as a mouse does.
    pub fn click(&mut self, selector: &str) {
        let at = self.value(&format!(
            "(() => {{ const e = document.querySelector({}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()",
            json!(selector)
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            self.call(
                "Input.dispatchMouseEvent",
                &json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1}),
            );
        }
    }

    /// Presses a key: its name, its code and what it types.
    pub fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call(
                "Input.dispatchKeyEvent",
                &json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": if kind == "keyDown" { text } else { "" }}),
            );
        }
    }

    /// All addresses that were asked for since the page was opened, itself among them.
    pub fn requests(&mut self) -> Vec<String> {
        self.settle();
        self.requests.clone()
    }

    /// Everything that stands in the console as an error or a warning: also what the page's policy forbade.
    pub fn complaints(&mut self) -> Vec<String> {
        self.settle();
        self.complaints.clone()
    }

    /// The page as a picture (PNG in base64); all of it, not only what the window shows.
    pub fn picture(&mut self) -> String {
        let shot = self.call(
            "Page.captureScreenshot",
            &json!({"format": "png", "captureBeyondViewport": true}),
        );
        shot["data"].as_str().expect("a picture").to_owned()
    }

    /// The page on paper (PDF in base64).
    pub fn paper(&mut self) -> String {
        let paper = self.call("Page.printToPDF", &json!({"preferCSSPageSize": true}));
        paper["data"].as_str().expect("paper").to_owned()
    }

    /// Has the page draw twice, after which what it caused has been told.
    fn settle(&mut self) {
        self.value(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))",
        );
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = serde_json::to_vec(&message).expect("JSON");
        bytes.push(0);
        self.commands
            .write_all(&bytes)
            .expect("the browser listens; is chromium installed? `cargo xtask setup` says");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.next(deadline);
            if answer["id"] == json!(self.last) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The next message; events leave their trace.
    fn next(&mut self, deadline: Instant) -> Value {
        let left = deadline.saturating_duration_since(Instant::now());
        let message = self
            .messages
            .recv_timeout(left)
            .expect("the browser answers; is chromium installed? `cargo xtask setup` says");
        let parameters = &message["params"];
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match message["method"].as_str() {
            Some("Network.requestWillBeSent") => self.requests.push(text(&parameters["request"]["url"])),
            Some("Log.entryAdded") => self.complaints.push(text(&parameters["entry"]["text"])),
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(parameters["exceptionDetails"].to_string());
            }
            Some("Runtime.consoleAPICalled") => self.complaints.push(parameters["args"].to_string()),
            Some("Page.loadEventFired") => self.loaded = true,
            _ => {}
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its children end with it; they may still write to the profile, which `TempDir` then leaves behind in parts.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            crate::note(format_args!(
                "chromium with {} stays: {error}",
                self.profile.path().display()
            ));
        }
    }
}
