use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::thread;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::PTR;
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::time::sleep;

use super::*;

const QUICK: Pace = Pace {
    at_once: 3,
    gap: Duration::from_millis(1),
    patience: Duration::from_millis(100),
};

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(8, 8, 8, number).into()
}

#[derive(Default)]
struct Seen {
    asked: Vec<IpAddr>,
    now: usize,
    most: usize,
    refreshed: usize,
}

/// Knows names of even addresses, has none for odd ones, and says nothing about those from 200 on, refuses those from 250 on, but for 255, where it
/// panics.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Seen>>);

impl Resolve for Fake {
    async fn reverse(&self, address: IpAddr) -> Result<Answer, Unanswered> {
        {
            let mut seen = self.0.lock().unwrap();
            seen.asked.push(address);
            seen.now += 1;
            seen.most = seen.most.max(seen.now);
        }
        let IpAddr::V4(v4) = address else {
            return Err(Unanswered::Silence);
        };
        let number = v4.octets()[3];
        sleep(Duration::from_millis(5)).await;
        let answer = match number {
            255 => panic!("a fault"),
            220..250 => Err(Unanswered::Silence),
            250.. => Err(Unanswered::Refusal),
            200.. => std::future::pending().await,
            _ if number % 2 == 0 => Ok((vec![format!("h{number}.example").into()], Duration::ZERO)),
            _ => Ok((Vec::new(), Duration::ZERO)),
        };
        self.0.lock().unwrap().now -= 1;
        answer
    }

    fn refresh(&self) {
        self.0.lock().unwrap().refreshed += 1;
    }
}

/// Outcomes until there are `count`.
async fn outcomes(lookups: &mut Lookups, count: usize) -> BTreeMap<IpAddr, Outcome> {
    let mut found = BTreeMap::new();
    let until = Instant::now() + Duration::from_secs(10);
    while found.len() < count {
        assert!(Instant::now() < until, "{found:?}");
        match lookups.take() {
            Some((address, outcome)) => {
                found.insert(address, outcome);
            }
            None => sleep(Duration::from_millis(2)).await,
        }
    }
    found
}

#[tokio::test]
async fn each_address_is_looked_up_once_and_few_at_once() {
    let fake = Fake::default();
    let mut lookups = Lookups::start(fake.clone(), QUICK);
    for number in (0..40).chain(0..40) {
        lookups.ask(address(number));
    }
    let found = outcomes(&mut lookups, 40).await;
    assert_eq!(
        found[&address(2)],
        Outcome::Names {
            names: vec!["h2.example".into()],
            life: Duration::from_secs(300)
        }
    );
    assert_eq!(
        found[&address(3)],
        Outcome::Nothing {
            life: Duration::from_secs(3600)
        }
    );
    {
        let seen = fake.0.lock().unwrap();
        assert_eq!((seen.asked.len(), seen.refreshed), (40, 0));
        assert!((2..=3).contains(&seen.most), "{}", seen.most);
    }
    lookups.ask(address(2));
    outcomes(&mut lookups, 1).await;
}

#[tokio::test]
async fn what_does_not_end_or_ends_badly_is_a_failure() {
    let mut lookups = Lookups::start(Fake::default(), QUICK);
    for number in [200, 255, 220, 4] {
        lookups.ask(address(number));
    }
    let found = outcomes(&mut lookups, 4).await;
    for number in [200, 255, 220] {
        assert_eq!(found[&address(number)], Outcome::FAILED, "{number}");
    }
    assert!(matches!(found[&address(4)], Outcome::Names { .. }));
}

#[tokio::test]
async fn no_more_is_asked_while_nobody_is_heard() {
    let fake = Fake::default();
    let mut lookups = Lookups::start(fake.clone(), QUICK);
    for number in 220..250 {
        lookups.ask(address(number));
    }
    outcomes(&mut lookups, ALL_FAIL as usize).await;
    let seen = fake.0.lock().unwrap();
    // Those that had begun when the last one failed.
    assert!(
        seen.asked.len() <= ALL_FAIL as usize + QUICK.at_once,
        "{}",
        seen.asked.len()
    );
    assert!(seen.refreshed >= 1);
}

#[tokio::test]
async fn single_zones_at_fault_do_not_stop_the_others() {
    let fake = Fake::default();
    let mut lookups = Lookups::start(fake.clone(), QUICK);
    for number in 0..20 {
        let refused = Ipv4Addr::new(8, 8, number, 250);
        lookups.ask(refused.into());
    }
    let found = outcomes(&mut lookups, 20).await;
    assert!(found.values().all(|outcome| *outcome == Outcome::FAILED));
    assert_eq!(fake.0.lock().unwrap().refreshed, 0);
}

#[test]
fn pauses_grow() {
    let seconds = |failures| pause(failures).as_secs();
    assert_eq!(
        [0, 7, 8, 9, 10, 16, 17, 100, u32::MAX].map(seconds),
        [0, 0, 1, 2, 4, 256, 300, 300, 300]
    );
}

#[tokio::test]
async fn only_public_addresses_of_others_are_looked_up() {
    let fake = Fake::default();
    let mut lookups = Lookups::start(fake.clone(), QUICK);
    lookups.set_own([address(1)].into());
    for text in [
        "10.0.0.1",
        "127.0.0.1",
        "fe80::1",
        "224.0.0.1",
        "100.64.0.1",
        "8.8.8.1",
        "::ffff:8.8.8.1",
    ] {
        lookups.ask(text.parse().unwrap());
    }
    lookups.ask("::ffff:8.8.8.2".parse().unwrap());
    outcomes(&mut lookups, 1).await;
    assert_eq!(fake.0.lock().unwrap().asked, [address(2)]);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_refused() {
    let mut lookups = Lookups::start(Fake::default(), QUICK);
    for number in 0..MOST_PENDING as u32 + 10 {
        lookups.ask(Ipv4Addr::from_bits(0x0808_0000 + number).into());
    }
    assert_eq!(lookups.refused(), 10);
}

/// Answers PTR questions for 192.0.2.N by N: 1 two names, 2 NXDOMAIN, 3 SERVFAIL, 4 a name that is none, else nothing at all.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let question = Message::from_vec(&bytes[..length]).unwrap();
            let query = question.queries[0].clone();
            let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
            answer.metadata.message_type = MessageType::Response;
            answer.add_query(query.clone());
            let label = query.name().iter().next().unwrap().to_owned();
            let names: Vec<Name> = match label.as_slice() {
                b"1" => vec![
                    Name::from_ascii("Host-1.Example.com.").unwrap(),
                    Name::from_ascii("a.example.com.").unwrap(),
                ],
                b"2" => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    Vec::new()
                }
                b"3" => {
                    answer.metadata.response_code = ResponseCode::ServFail;
                    Vec::new()
                }
                b"4" => vec![
                    Name::from_labels(vec![&b"a.b"[..], b"com"]).unwrap(),
                    Name::from_labels(vec![&b"\x1b[31m"[..], b"com"]).unwrap(),
                ],
                _ => continue,
            };
            for name in names {
                answer.add_answer(Record::from_rdata(
                    query.name().clone(),
                    600,
                    RData::PTR(PTR(name)),
                ));
            }
            socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
        }
    });
    place
}

#[tokio::test]
async fn the_system_s_servers_are_asked() {
    let place = name_server();
    let mut udp = ConnectionConfig::udp();
    udp.port = place.port();
    let server = NameServerConfig::new(place.ip(), true, vec![udp]);
    let system = System::with(ResolverConfig::from_name_servers(vec![server])).unwrap();
    let ask = |number| system.reverse(Ipv4Addr::new(192, 0, 2, number).into());
    let (mut names, life) = ask(1).await.unwrap();
    names.sort_unstable();
    assert_eq!(
        names.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["a.example.com", "host-1.example.com"]
    );
    assert_eq!(life, Duration::from_secs(600));
    assert_eq!(ask(2).await, Ok((Vec::new(), Duration::ZERO)));
    assert_eq!(ask(3).await, Err(Unanswered::Refusal));
    assert_eq!(ask(4).await.unwrap().0, Vec::<Arc<str>>::new());
    assert_eq!(
        ask(5).await,
        Err(Unanswered::Silence),
        "there is no answer at all"
    );
}
