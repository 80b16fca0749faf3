//! The report's page in a real browser.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tcpwatch::report::html;
use tcpwatch_tests::browser::Browser;
use tcpwatch_tests::day;
use tcpwatch_tests::note;
use tempfile::TempDir;

/// A page in a file.
struct Paper {
    file: PathBuf,
    _directory: TempDir,
}

fn paper(page: &str) -> Paper {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.html");
    fs::write(&file, page).unwrap();
    Paper {
        file,
        _directory: directory,
    }
}

/// What the first column of the networks' table shows, from the top.
const NETWORKS: &str = "[...document.querySelectorAll('section[aria-labelledby=networks] tbody tr')]\
    .filter(row => row.checkVisibility()).map(row => row.cells[0].textContent)";

const ORDER: &str = "[...document.querySelectorAll('section[aria-labelledby=networks] th[aria-sort]')]\
    .map(cell => cell.textContent + ' ' + cell.getAttribute('aria-sort'))";

const TOO_WIDE: &str = "document.documentElement.scrollWidth - document.documentElement.clientWidth";

fn heading(column: u32) -> String {
    format!("section[aria-labelledby=networks] thead th:nth-child({column}) button")
}

#[test]
fn a_day_renders_without_a_request_or_a_complaint_on_every_screen() {
    let page = html::render(&day::day());
    note(format_args!("a day's report: {} bytes", page.len()));
    assert!(page.len() < 500_000, "{}", page.len());
    let paper = paper(&page);
    let mut browser = Browser::start();
    for (width, dark) in [
        (360, false),
        (360, true),
        (768, false),
        (1280, false),
        (1280, true),
    ] {
        browser.look(width, 800, dark);
        browser.open(&paper.file);
        assert_eq!(browser.requests(), [format!("file://{}", paper.file.display())]);
        assert_eq!(browser.complaints(), Vec::<String>::new());
        assert_eq!(
            browser.value(TOO_WIDE),
            json!(0),
            "pixels that the page is wider than a screen of {width}"
        );
        let ground = browser.value("getComputedStyle(document.body).backgroundColor");
        assert_eq!(
            ground,
            json!(if dark {
                "rgb(20, 23, 27)"
            } else {
                "rgb(255, 255, 255)"
            })
        );
        // The style sheet and the script are in force: pictures have their size and colour, headings are buttons.
        let map = browser.value("document.querySelector('.map svg').getBoundingClientRect().width");
        assert!(map.as_f64().unwrap() > f64::from(width) * 0.7, "{map}");
        let shade = browser.value("getComputedStyle(document.querySelector('.map path.l6')).fill");
        assert_ne!(shade, json!("rgb(0, 0, 0)"));
        let buttons = browser.value("document.querySelectorAll('th button').length");
        assert!(buttons.as_u64().unwrap() > 20, "{buttons}");
    }
}

#[test]
fn a_question_renders_without_a_request_or_a_complaint() {
    let paper = paper(&html::render(&day::question()));
    let mut browser = Browser::start();
    for width in [360, 1280] {
        browser.look(width, 800, false);
        browser.open(&paper.file);
        assert_eq!(browser.requests().len(), 1);
        assert_eq!(browser.complaints(), Vec::<String>::new());
        assert_eq!(browser.value(TOO_WIDE), json!(0), "at {width}");
        assert_eq!(
            browser.value("document.querySelectorAll('.findings li').length"),
            json!(2)
        );
    }
}

#[test]
fn headings_sort_by_mouse_and_by_keyboard() {
    let report = day::day();
    let networks = &report.sections[1].groups;
    let by = |key: &dyn Fn(&tcpwatch::report::Group) -> u64| -> Vec<String> {
        let mut rows: Vec<_> = networks.iter().collect();
        rows.sort_by_key(|group| std::cmp::Reverse(key(group)));
        rows.iter().map(|group| group.label.clone()).collect()
    };
    let paper = paper(&html::render(&report));
    let mut browser = Browser::start();
    browser.look(1280, 900, false);
    browser.open(&paper.file);
    let shown = |browser: &mut Browser| -> Vec<String> {
        let rows = browser.value(NETWORKS);
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row.as_str().unwrap().to_owned())
            .collect()
    };

    assert_eq!(browser.value(ORDER), json!(["Packets descending"]));
    assert_eq!(shown(&mut browser), by(&|group| group.sum.packets)[..10]);
    browser.click("section[aria-labelledby=networks] .more");
    assert_eq!(shown(&mut browser), by(&|group| group.sum.packets));

    browser.click(&heading(4));
    assert_eq!(browser.value(ORDER), json!(["Bytes descending"]));
    let by_bytes = by(&|group| group.sum.bytes);
    assert_eq!(shown(&mut browser), by_bytes);
    assert_ne!(
        by_bytes,
        by(&|group| group.sum.packets),
        "this order shows nothing"
    );

    // The same button by the keyboard turns the order round.
    browser.value(&format!("document.querySelector('{}').focus()", heading(4)));
    browser.press("Enter", 13, "\r");
    assert_eq!(browser.value(ORDER), json!(["Bytes ascending"]));
    assert_eq!(
        shown(&mut browser),
        by_bytes.iter().rev().cloned().collect::<Vec<_>>()
    );

    // The next heading is the next stop of the tabulator; destinations are behind TCP and QUIC.
    for _ in 0..3 {
        browser.press("Tab", 9, "");
    }
    browser.press(" ", 32, " ");
    assert_eq!(browser.value(ORDER), json!(["Destinations descending"]));
    let most = by(&|group| group.destinations);
    assert_eq!(shown(&mut browser)[0], most[0]);

    browser.click(&heading(1));
    let names = shown(&mut browser);
    assert_eq!(
        names[0], "AS714 APPLE-ENGINEERING",
        "numbers in names sort as numbers"
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn names_that_are_markup_run_nothing() {
    let mut report = day::day();
    let name = "</th><script>document.title='run'</script><img src='http://127.0.0.1:9/' onerror=\"document.title='run'\">";
    for section in &mut report.sections {
        for group in &mut section.groups {
            group.label = format!("{}{name}", group.label);
            group.place = name.to_owned();
        }
    }
    report.hosts = vec!["host".to_owned(), name.to_owned()];
    let title = format!("host, {name} \u{b7} tcpwatch");
    let paper = paper(&html::render(&report));
    let mut browser = Browser::start();
    browser.open(&paper.file);
    assert_eq!(browser.requests().len(), 1);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert_eq!(browser.value("document.title"), json!(title));
}

/// The control: what the other tests do not find is found where it is there.
#[test]
fn the_policy_stops_what_the_page_does_not_have_and_the_browser_says_so() {
    let page = html::render(&day::day());
    let smuggled = "<script>document.title='run'</script><img src=\"http://127.0.0.1:9/x.png\"><p style=\"color:red\">x</p></main>";
    let paper = paper(&page.replacen("</main>", smuggled, 1));
    let mut browser = Browser::start();
    browser.open(&paper.file);
    let complaints = browser.complaints();
    for directive in ["script-src", "img-src", "style-src"] {
        assert!(
            complaints.iter().any(|complaint| complaint.contains(directive)),
            "{directive} is not among {complaints:?}"
        );
    }
    assert_ne!(browser.value("document.title"), json!("run"));
}

#[test]
fn without_scripts_everything_is_there() {
    let page = html::render(&day::day());
    let paper = paper(&page.replacen("script-src 'sha256-", "script-src 'sha256-x", 1));
    let mut browser = Browser::start();
    browser.open(&paper.file);
    assert_eq!(
        browser.value("document.querySelectorAll('th button').length"),
        json!(0)
    );
    let shown = browser.value(NETWORKS);
    assert_eq!(shown.as_array().unwrap().len(), 40);
}
