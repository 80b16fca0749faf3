//! Writes the report's page for a made-up day and takes pictures of it in Chromium:
//! `cargo run -p tcpwatch-tests --example page -- DIRECTORY`.

#![allow(clippy::unwrap_used, reason = "shows, or ends with a panic")]

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tcpwatch::report::html;
use tcpwatch_tests::browser::Browser;
use tcpwatch_tests::day;

fn main() {
    let directory = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let directory = directory.canonicalize().unwrap();
    let mut browser = Browser::start();
    for (name, report) in [("day", day::day()), ("question", day::question())] {
        let file = directory.join(format!("{name}.html"));
        fs::write(&file, html::render(&report)).unwrap();
        for (look, width, dark) in [
            ("light", 1280, false),
            ("dark", 1280, true),
            ("phone", 360, false),
        ] {
            browser.look(width, 900, dark);
            browser.open(&file);
            let picture = STANDARD.decode(browser.picture()).unwrap();
            fs::write(directory.join(format!("{name}-{look}.png")), picture).unwrap();
        }
        let paper = STANDARD.decode(browser.paper()).unwrap();
        fs::write(directory.join(format!("{name}.pdf")), paper).unwrap();
    }
}
