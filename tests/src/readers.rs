//! Programs and rules of others that say where addresses are: libloc's `location`, MaxMind's `mmdblookup` and Rust reader,
//! Tor's ranges. Nothing here uses tcpwatch's own code.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory with location.db, geoip, geoip6 and the program `location`.
///
/// # Panics
///
/// When it is not given.
pub fn data() -> PathBuf {
    let directory = env::var_os("TCPWATCH_PLACE_DATA").map(PathBuf::from);
    directory.expect("TCPWATCH_PLACE_DATA names no directory with place data: run cargo xtask test")
}

/// What a reader says of an address. What it does not know is none; anycast is false then.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Answer {
    /// ISO 3166-1 code.
    pub country: Option<String>,
    /// AS number.
    pub asn: Option<u32>,
    /// Name of that AS.
    pub network: Option<String>,
    /// Marked as anycast.
    pub anycast: bool,
}

/// An answer of libloc, and the network that it is about.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct LiblocAnswer {
    /// What it says.
    pub answer: Answer,
    /// First and last address of the network; none: no network has the address.
    pub network: Option<(IpAddr, IpAddr)>,
}

/// Runs the program `location`, given as the first argument, with what the binding of libloc 0.9.16 lacks: where nothing is
/// found, it takes whatever error the C library saw last, before, for its own.
const WRAPPER: &str = "
import ctypes, location, runpy, sys
errno = ctypes.CDLL(None).__errno_location
errno.restype = ctypes.POINTER(ctypes.c_int)
class Database(location.Database):
    def lookup(self, address):
        errno()[0] = 0
        return super().lookup(address)
location.Database = Database
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
";

/// The Python that Debian's packages are for.
const PYTHON: &str = "/usr/bin/python3";

/// The program `location` with a database.
#[derive(Debug)]
pub struct Libloc {
    program: PathBuf,
    database: PathBuf,
    codes: HashMap<String, String>,
}

impl Libloc {
    /// How many addresses one call takes: the kernel bounds a command line.
    const AT_ONCE: usize = 4000;

    /// The fetched program and database.
    ///
    /// # Panics
    ///
    /// When the program does not run.
    pub fn new(data: &Path) -> Self {
        let mut libloc = Self {
            program: data.join("location"),
            database: data.join("location.db"),
            codes: HashMap::new(),
        };
        for line in libloc.call(&["list-countries", "--show-name"]).lines() {
            let (code, name) = line.split_once(' ').expect("code and name");
            let twice = libloc.codes.insert(name.to_owned(), code.to_owned());
            assert_eq!(twice, None, "two countries are called {name}");
        }
        assert!(libloc.codes.len() > 200, "{:?}", libloc.codes);
        libloc
    }

    fn call(&self, arguments: &[&str]) -> String {
        let output = Command::new(PYTHON)
            .args(["-c", WRAPPER])
            .arg(&self.program)
            .arg("--database")
            .arg(&self.database)
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("Python starts: run cargo xtask setup");
        // 1: it knows nothing of one of the addresses. So Python says that it failed, too, but with other words.
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(0 | 1))
                && complaint
                    .lines()
                    .all(|line| line.starts_with("Nothing found for ")),
            "location: {complaint}"
        );
        String::from_utf8(output.stdout).expect("location writes text")
    }

    /// What `location lookup` says of each of `addresses`, each of which is named once.
    ///
    /// # Panics
    ///
    /// When it says what we do not understand.
    pub fn lookup(&self, addresses: &[IpAddr]) -> Vec<LiblocAnswer> {
        let mut found: HashMap<IpAddr, LiblocAnswer> = HashMap::new();
        for some in addresses.chunks(Self::AT_ONCE) {
            let texts: Vec<String> = some.iter().map(IpAddr::to_string).collect();
            let mut arguments = vec!["lookup"];
            arguments.extend(texts.iter().map(String::as_str));
            let mut about = None;
            for line in self.call(&arguments).lines() {
                if let Some(address) = line.strip_suffix(':').and_then(|text| text.parse().ok()) {
                    about = Some(address);
                    found.insert(address, LiblocAnswer::default());
                    continue;
                }
                let address = about.expect("an address comes first");
                self.read(found.get_mut(&address).expect("it was just added"), line);
            }
        }
        addresses
            .iter()
            .map(|address| found.remove(address).unwrap_or_default())
            .collect()
    }

    fn read(&self, of: &mut LiblocAnswer, line: &str) {
        let (label, value) = line.split_once(": ").expect("label and value");
        let answer = &mut of.answer;
        match label.trim() {
            "Network" => {
                let net: ipnet::IpNet = value.parse().expect("a prefix");
                of.network = Some((net.network(), net.broadcast()));
            }
            "Country" => {
                let code = self.codes.get(value).map_or(value, String::as_str);
                assert_eq!(code.len(), 2, "unknown country {value}");
                answer.country = Some(code.to_owned());
            }
            "Autonomous System" => {
                let (number, name) = value
                    .split_once(" - ")
                    .map_or((value, None), |(number, name)| (number, Some(name)));
                let number = number.strip_prefix("AS").expect("AS and a number");
                answer.asn = Some(number.parse().expect("a number"));
                answer.network = name.map(str::to_owned);
            }
            "Anycast" => answer.anycast = value == "yes",
            "Anonymous Proxy" | "Satellite Provider" | "Hostile Network safe to drop" => {}
            other => panic!("location says {other:?}"),
        }
    }
}

/// Ranges of Tor's files, sorted.
#[derive(Debug)]
pub struct Tor {
    /// First and last address and code, `??` where it is unknown.
    pub ranges: Vec<(IpAddr, IpAddr, String)>,
}

impl Tor {
    /// Both files.
    ///
    /// # Panics
    ///
    /// When they are not as they should be.
    pub fn new(data: &Path) -> Self {
        let mut ranges = Vec::new();
        for name in ["geoip", "geoip6"] {
            let text = fs::read_to_string(data.join(name)).expect("the file is there");
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let fields: Vec<&str> = line.split(',').collect();
                let [first, last, code] = fields[..] else {
                    panic!("{name}: {line}")
                };
                let address = |text: &str| -> IpAddr {
                    match text.parse::<u32>() {
                        Ok(number) => Ipv4Addr::from(number).into(),
                        Err(_) => text.parse::<Ipv6Addr>().expect("an address").into(),
                    }
                };
                ranges.push((address(first), address(last), code.to_owned()));
            }
        }
        assert!(
            ranges.is_sorted_by(|one, two| one.1 < two.0),
            "Tor's ranges overlap"
        );
        Self { ranges }
    }

    /// The country of an address, where Tor knows one.
    pub fn country(&self, address: IpAddr) -> Option<&str> {
        let after = self.ranges.partition_point(|(first, _, _)| *first <= address);
        let (_, last, code) = self.ranges.get(after.checked_sub(1)?)?;
        (address <= *last && code != "??").then_some(code)
    }
}

/// What MaxMind's Rust reader finds in a file.
///
/// # Panics
///
/// When the file or the record is not as it should be.
pub fn maxminddb(reader: &maxminddb::Reader<Vec<u8>>, address: IpAddr) -> Answer {
    let found = reader.lookup(address).expect("a look-up");
    let text =
        |path: &[maxminddb::PathElement<'_>]| -> Option<String> { found.decode_path(path).expect("a text") };
    Answer {
        country: text(&maxminddb::path!["country", "iso_code"]),
        asn: found
            .decode_path(&maxminddb::path!["autonomous_system_number"])
            .expect("a number"),
        network: text(&maxminddb::path!["autonomous_system_organization"]),
        anycast: found
            .decode_path(&maxminddb::path!["traits", "is_anycast"])
            .expect("a flag")
            .unwrap_or(false),
    }
}

/// What MaxMind's own program prints of an address in a file.
///
/// # Panics
///
/// When it fails otherwise than for want of a record.
pub fn mmdblookup(file: &Path, address: IpAddr) -> Answer {
    const NOT_FOUND: i32 = 6;
    let output = Command::new("mmdblookup")
        .arg("--file")
        .arg(file)
        .args(["--ip", &address.to_string()])
        .output()
        .expect("mmdblookup starts: run cargo xtask setup");
    let mut answer = Answer::default();
    if output.status.code() == Some(NOT_FOUND) {
        return answer;
    }
    assert!(
        output.status.success(),
        "mmdblookup: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("mmdblookup writes text");
    // A key stands on a line, its value on the next.
    let mut key = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('"').and_then(|line| line.strip_suffix("\":")) {
            key = name;
            continue;
        }
        let string = line
            .strip_prefix('"')
            .and_then(|line| line.strip_suffix("\" <utf8_string>"));
        match (key, string) {
            ("iso_code", Some(code)) => answer.country = Some(code.to_owned()),
            ("autonomous_system_organization", Some(name)) => answer.network = Some(name.to_owned()),
            ("autonomous_system_number", None) => {
                let number = line.strip_suffix(" <uint32>").expect("a number of 32 bits");
                answer.asn = Some(number.parse().expect("a number"));
            }
            ("is_anycast", None) if line.ends_with(" <boolean>") => answer.anycast = line.starts_with("true"),
            _ => {}
        }
    }
    answer
}
