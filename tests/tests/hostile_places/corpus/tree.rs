//! Search trees that lead in circles, out of the file, or to what is no record.

use tcpwatch_tests::mmdb::{File, To, Tree};

use super::{Case, Fate, honest_file, with_record};

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        circle("a root that leads to itself", &[[0, 0]]),
        circle("two nodes that lead to each other", &[[1, 1], [0, 0]]),
        circle("a long circle", &[[1, 1], [2, 2], [3, 3], [4, 4], [0, 0]]),
    ];
    for record_size in [24, 28, 32] {
        cases.extend(leaves(record_size));
    }
    cases.extend(shapes());
    cases
}

/// A tree of nothing but nodes: no address comes to an end in it.
fn circle(name: &str, nodes: &[[usize; 2]]) -> Case {
    let mut file = File::new("Hostile-City");
    file.tree.nodes = nodes.iter().map(|sides| sides.map(To::Node)).collect();
    file.data.country("NL", "Netherlands");
    Case::new(name, Fate::NotKnown, &file.bytes())
}

/// Leaves that lead where no record is.
fn leaves(record_size: usize) -> Vec<Case> {
    let honest = honest_file();
    let nodes = honest.tree.nodes.len() as u32;
    let length = honest.data.here();
    let leaf = |name: &str, fate, to: To| {
        let mut file = honest.clone();
        file.record_size = record_size;
        file.tree.put("90.0.0.0/8", to);
        Case::new(format!("a leaf {name}, {record_size} bits"), fate, &file.bytes())
    };
    let largest = if record_size == 32 {
        u32::MAX
    } else {
        (1 << record_size) - 1
    };
    vec![
        leaf("that leads to no record", Fate::Unknown, To::Nothing),
        leaf("that leads to the root", Fate::Ends, To::Node(0)),
        leaf(
            "that leads to the last node",
            Fate::Ends,
            To::Node(nodes as usize - 1),
        ),
        leaf("in the separator", Fate::Damaged, To::Raw(nodes + 1)),
        leaf("at the end of the separator", Fate::Damaged, To::Raw(nodes + 15)),
        leaf(
            "at the last byte of the data",
            Fate::NotKnown,
            To::Data(length - 1),
        ),
        leaf("at the end of the data", Fate::Damaged, To::Data(length)),
        leaf("in the metadata", Fate::Damaged, To::Data(length + 20)),
        leaf("behind the file", Fate::Damaged, To::Data(length + 10_000)),
        leaf("as far away as can be", Fate::Damaged, To::Raw(largest)),
        leaf("in the middle of a record", Fate::NotKnown, To::Data(length - 5)),
    ]
}

fn shapes() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut file = honest_file();
    file.separator = b"MaxMind.com\xab\xcd\xef!!".to_vec();
    cases.push(Case::new(
        "a separator that is not zero",
        Fate::Ends,
        &file.bytes(),
    ));
    file.separator.clear();
    cases.push(Case::new("no separator", Fate::Ends, &file.bytes()));

    let mut file = File::new("Hostile-City");
    cases.push(Case::new("no data", Fate::Unknown, &{
        let mut file = file.clone();
        file.data.country("DE", "Germany");
        file.tree.put("91.0.0.0/8", To::Data(0));
        file.bytes()
    }));
    file.tree.put("90.0.0.0/8", To::Data(0));
    cases.push(Case::new(
        "a leaf where there is no data at all",
        Fate::NotKnown,
        &file.bytes(),
    ));

    let mut file = with_record(|data| data.here());
    file.tree.put("90.0.0.0/8", To::Data(0));
    cases.push(Case::new("a record for two networks", Fate::Ends, &file.bytes()));

    // IPv4 ends before it begins.
    for (name, to) in [
        ("no record", To::Nothing),
        ("the root", To::Node(0)),
        ("a record", To::Data(0)),
        ("nowhere", To::Raw(0x0fff_ffff)),
    ] {
        let mut file = File::new("Hostile-City");
        file.data.country("NL", "Netherlands");
        file.tree.nodes = vec![[to, To::Nothing]];
        cases.push(Case::new(
            format!("a tree whose IPv4 leads to {name}"),
            Fate::Ends,
            &file.bytes(),
        ));
    }
    for levels in [95, 96, 97, 127, 128, 1000] {
        let mut file = File::new("Hostile-City");
        file.data.country("NL", "Netherlands");
        file.tree.nodes = (1..=levels).map(|next| [To::Node(next), To::Data(0)]).collect();
        file.tree.nodes.push([To::Data(0); 2]);
        cases.push(Case::new(
            format!("a tree of {levels} levels"),
            Fate::Ends,
            &file.bytes(),
        ));
    }

    // 2^127 ways through as many nodes as there are bits.
    for (name, to, fate) in [
        ("no record", To::Nothing, Fate::NotKnown),
        ("one record", To::Data(0), Fate::Ends),
        ("nowhere", To::Raw(0x0fff_ffff), Fate::NotKnown),
    ] {
        let mut file = File::new("Hostile-City");
        file.data.country("NL", "Netherlands");
        file.tree.nodes = (1..128).map(|next| [To::Node(next); 2]).collect();
        file.tree.nodes.push([to; 2]);
        cases.push(Case::new(
            format!("a tree in which every way leads to {name}"),
            fate,
            &file.bytes(),
        ));
    }

    let mut file = File::new("Hostile-City");
    file.tree = Tree {
        is_ipv4: true,
        ..Tree::default()
    };
    file.data.country("NL", "Netherlands");
    file.tree.put("90.0.0.0/8", To::Data(0));
    let only_ipv4 = file.bytes();
    cases.push(Case::new("only IPv4", Fate::Ends, &only_ipv4));
    file.claim("ip_version", |data| {
        data.unsigned(tcpwatch_tests::mmdb::kind::UINT16, 6);
    });
    cases.push(Case::new("IPv4 that says it is IPv6", Fate::Ends, &file.bytes()));
    cases
}
