//! Whole imports of small files.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, UNIX_EPOCH};

use super::*;

const CSV: &str = "network,country,asn,name\n192.0.2.0/24,DE,64500,EXAMPLE\n2001:db8::/32,FR\n";
const GEOIP: &str =
    "# Generated: Thu, 25 Jun 2026 04:33:59 GMT\n3221225984,3221226239,AT\n3325256704,3325256959,CH\n";

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn import(&self, files: &[PathBuf]) -> Result<String, ImportError> {
        let arguments = Arguments {
            files: files.to_vec(),
            output: Some(self.path("places.mmdb")),
        };
        let (mut out, mut notices) = (Vec::new(), Vec::new());
        assert_eq!(run(&arguments, &mut out, &mut notices)?, Ending::Done);
        assert!(notices.is_empty());
        Ok(String::from_utf8(out).unwrap())
    }

    /// As the program prints it, with the bench's directory as DIR.
    fn refused(&self, files: &[PathBuf]) -> String {
        let error = anyhow::Error::from(self.import(files).unwrap_err());
        format!("{error:#}").replace(&self.directory.path().display().to_string(), "DIR")
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn country(&self, address: &str) -> Option<String> {
        let reader = maxminddb::Reader::open_readfile(self.path("places.mmdb")).unwrap();
        let found = reader.lookup(address.parse().unwrap()).unwrap();
        found
            .decode_path(&maxminddb::path!["country", "iso_code"])
            .unwrap()
    }
}

#[test]
fn makes_one_database_of_several_files_and_says_what_it_did() {
    let bench = Bench::new();
    let (csv, geoip) = (bench.file("own.csv", CSV), bench.file("geoip", GEOIP));
    let modified = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    fs::File::options()
        .append(true)
        .open(&csv)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let said = bench.import(&[csv, geoip]).unwrap();
    assert_eq!(bench.names(), ["geoip", "own.csv", "places.mmdb"]);
    // The operator's own line goes before Tor's fresher one.
    assert_eq!(bench.country("192.0.2.1").as_deref(), Some("DE"));
    assert_eq!(bench.country("198.51.100.1").as_deref(), Some("CH"));
    assert_eq!(bench.country("2001:db8::1").as_deref(), Some("FR"));
    assert_eq!(bench.country("203.0.113.1"), None);
    assert_eq!(
        fs::metadata(bench.path("places.mmdb"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o644
    );

    let reader = maxminddb::Reader::open_readfile(bench.path("places.mmdb")).unwrap();
    assert_eq!(reader.metadata().build_epoch, 1_782_362_039);
    let description = &reader.metadata().description["en"];
    assert!(
        description.contains("IPFire location database (location.ipfire.org), licence CC BY-SA 4.0")
            && description.ends_with("from own.csv (CSV) of 2026-01-01, geoip (Tor) of 2026-06-25"),
        "{description}"
    );

    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].contains("places.mmdb: 3 networks, 0.0 MB, in "),
        "{said}"
    );
    assert_eq!(
        lines[1..],
        [
            "  from     own.csv  2026-01-01, CSV, 2 ranges",
            "  from     geoip    2026-06-25, Tor, 2 ranges",
            "  checked  all networks, and 9 addresses by look-up",
            "  data     IPFire location database (location.ipfire.org), licence CC BY-SA 4.0 \
             (creativecommons.org/licenses/by-sa/4.0); country names from Unicode CLDR, licence Unicode-3.0",
        ]
    );
}

#[test]
fn nobodys_licence_is_claimed_for_the_operators_own_lines() {
    let bench = Bench::new();
    let said = bench.import(&[bench.file("own.csv", CSV)]).unwrap();
    assert!(!said.contains("IPFire"), "{said}");
}

#[test]
fn what_cannot_be_imported_is_named_with_its_cure_and_the_old_file_stays() {
    let bench = Bench::new();
    let good = bench.file("good.csv", CSV);
    bench.file("places.mmdb", "old");
    let before = bench.names();
    for (name, bytes, expected) in [
        (
            "bad.csv",
            &b"192.0.2.1,DE\n192.0.2.1,Germany\n"[..],
            "DIR/bad.csv:2: \"Germany\" is not a country code: write two letters of ISO 3166-1, like DE, or nothing where the country is unknown",
        ),
        (
            "geoip",
            b"1,2,DE\n3,4\n",
            "DIR/geoip:2: \"3,4\" is not `first,last,country`: fetch the file again",
        ),
        (
            "location.db",
            b"LOCDBXX\x01\0\0",
            "DIR/location.db is cut short or damaged: fetch it again: the header ends at offset 10",
        ),
        (
            "location.db",
            b"LOCDBXX\x02\0\0",
            "DIR/location.db is cut short or damaged: fetch it again: it is of version 2, and this program reads version 1",
        ),
        (
            "location.db.xz",
            b"\xfd7zXZ\0",
            "DIR/location.db.xz is packed: unpack it first",
        ),
        (
            "x.mmdb",
            b"....\xab\xcd\xefMaxMind.com\xe0",
            "DIR/x.mmdb is a place database already: name it with --geo",
        ),
        (
            "program",
            b"\x7fELF\0\0",
            "DIR/program is neither a location.db of libloc, nor a geoip file of Tor, nor CSV: check the path",
        ),
        (
            "empty",
            b"",
            "DIR/empty has no line with addresses: fetch it again",
        ),
        (
            "comments",
            b"# nothing\n\n# here\n",
            "DIR/comments has no line with addresses: fetch it again",
        ),
        ("unknown", b"192.0.2.1,??\n", ""),
    ] {
        let file = bench.file(name, bytes);
        if expected.is_empty() {
            assert_eq!(
                bench.refused(std::slice::from_ref(&file)),
                "the sources know no country, network or anycast address: name others"
            );
        } else {
            assert_eq!(bench.refused(&[good.clone(), file.clone()]), expected);
        }
        fs::remove_file(file).unwrap();
        assert_eq!(bench.names(), before);
        assert_eq!(fs::read(bench.path("places.mmdb")).unwrap(), b"old");
    }
    assert!(
        bench
            .refused(&[bench.path("absent")])
            .starts_with("cannot read DIR/absent: check the path and its permissions: ")
    );
    assert_eq!(
        bench.refused(&[bench.directory.path().to_owned()]),
        "DIR is not a regular file: name a file"
    );
}

#[test]
fn an_output_that_cannot_be_is_refused_before_any_work() {
    let bench = Bench::new();
    let csv = bench.file("own.csv", "not even read");
    let to = |output: PathBuf| {
        let arguments = Arguments {
            files: vec![csv.clone()],
            output: Some(output),
        };
        let error = run(&arguments, &mut Vec::new(), &mut Vec::new())
            .unwrap_err()
            .to_string();
        error.replace(&bench.directory.path().display().to_string(), "DIR")
    };
    assert_eq!(
        to(bench.path("own.csv")),
        "DIR/own.csv is also to be read: name another file with --output"
    );
    assert_eq!(
        to(bench.directory.path().to_owned()),
        "DIR is not a regular file: name another with --output"
    );
    assert!(
        to(bench.path("absent/places.mmdb"))
            .starts_with("cannot write into DIR/absent: check that it exists")
    );
}

#[test]
fn the_same_sources_make_the_same_file() {
    let bench = Bench::new();
    let files = [bench.file("own.csv", CSV), bench.file("geoip", GEOIP)];
    let now = "2026-07-01T00:00:00Z".parse().unwrap();
    let mut made = Vec::new();
    for _ in 0..2 {
        make(&files, &bench.path("places.mmdb"), now, &Progress::hidden()).unwrap();
        made.push(fs::read(bench.path("places.mmdb")).unwrap());
    }
    assert_eq!(made[0], made[1]);
}

#[test]
fn without_a_source_that_marks_anycast_nothing_is_said_not_to_be() {
    use crate::enrich::{Enricher as _, Places};
    let bench = Bench::new();
    let csv = bench.file("own.csv", "8.8.8.0/24,US,15169,GOOGLE\n");
    let arguments = Arguments {
        files: vec![csv],
        output: Some(bench.path("made.mmdb")),
    };
    run(&arguments, &mut Vec::new(), &mut Vec::new()).unwrap();
    let mut places = Places::open_given(&[bench.path("made.mmdb")]).unwrap();
    let place = places.place("8.8.8.8".parse().unwrap());
    assert_eq!((place.asn, place.anycast), (Some(15169), None));
}
