use super::*;

#[test]
fn intervals_have_bounds() {
    for (text, expected) in [
        ("100ms", 100),
        ("20s", 20_000),
        ("1m 30s", 90_000),
        ("24h", 86_400_000),
    ] {
        assert_eq!(interval(text).unwrap(), Duration::from_millis(expected), "{text}");
    }
    for text in ["0s", "99ms", "25h", "-20s", "abc", "", "20"] {
        assert!(
            interval(text).unwrap_err().to_string().starts_with("--interval"),
            "{text}"
        );
    }
}

fn configuration(line: &str) -> Result<Config, String> {
    let words = iter::once("run").chain(line.split_whitespace());
    let matches = RunArgs::augment_args(Command::new("run"))
        .try_get_matches_from(words)
        .map_err(|error| file::refusal(&error))?;
    let args = RunArgs::from_arg_matches(&matches).unwrap();
    Config::of(args, Vec::new(), Vec::new()).map_err(|error| error.to_string())
}

#[test]
fn served_ports_are_of_a_run_that_leaves_them_out() {
    assert_eq!(configuration("").unwrap().served, None);
    let served = configuration("--skip-served").unwrap().served.unwrap();
    assert_eq!(served, Served::default());
    let line = "--skip-served --served-port -443/tcp,51820/udp --served-port +8080 --names dns";
    let served = configuration(line).unwrap().served.unwrap();
    let shown: Vec<_> = served.overrides.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["-443/tcp", "51820/udp", "8080"]);
    assert_eq!(
        configuration("--served-port 443,80").unwrap_err(),
        "--served-port 443 is of no use without --skip-served: give both"
    );
}

#[test]
fn names_in_the_classic_format_are_asked_for_with_it() {
    assert!(configuration("--resolve --format classic").unwrap().resolve);
    for line in ["--resolve", "--resolve --format json"] {
        assert_eq!(
            configuration(line).unwrap_err(),
            "--resolve is of the classic format: give it with --format classic"
        );
    }
}

#[test]
fn names_that_are_not_wanted_are_not_looked_up() {
    let names = |line: &str| configuration(line).map(|config| config.names);
    let none = NameSources::default();
    assert_eq!(names(""), Ok(none));
    assert_eq!(names("--names none"), Ok(none));
    let ptr = NameSources { ptr: true, ..none };
    assert_eq!(names("--resolve --format classic"), Ok(ptr));
    let dns = NameSources { dns: true, ..none };
    assert_eq!(names("--resolve --format classic --names dns"), Ok(dns));
    assert_eq!(
        names("--resolve --format classic --names none").unwrap_err(),
        "--resolve cannot be combined with --names none: give one of them"
    );
}

#[test]
fn names_of_the_file_give_way_to_none() {
    let command = RunArgs::augment_args(Command::new("run"));
    let file = File::parse("names = [\"dns\", \"tls\"]\n", "c.toml", &command).unwrap();
    let arguments = |typed: &[&str]| {
        let line = iter::once("run").chain(typed.iter().copied());
        let matches = command.clone().try_get_matches_from(line).unwrap();
        file.arguments(&matches, &command)
    };
    assert_eq!(arguments(&[]), ["--names=dns", "--names=tls"]);
    assert!(arguments(&["--names", "none"]).is_empty());
}

#[test]
fn all_and_auto_and_any_stand_alone() {
    let names = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(interfaces(names(&[])).unwrap(), Interfaces::DefaultRoute);
    assert_eq!(interfaces(names(&["all"])).unwrap(), Interfaces::All);
    assert!(interfaces(names(&["all", "eth0"])).is_err());
    assert_eq!(sources(&names(&["any"])).unwrap(), Sources::Any);
    assert!(sources(&names(&["192.0.2.1", "any"])).is_err());
    assert!(sources(&names(&["192.0.2"])).is_err());
}
