//! What can be told of a search tree without walking it. Pure.

/// How many sides of the tree's nodes lead to a record: each is a network.
///
/// It is read from end to end, not walked: a tree in which many ways lead to one node has more ways than can be walked in
/// a lifetime, and an honest one comes to the same. Networks that repeat another (::ffff:0:0/96 that of IPv4) lead to its
/// nodes and count once.
pub(super) fn count_records(tree: &[u8], record_size: u16, node_count: u32) -> u64 {
    let is_record = |number: u32| u64::from(number > node_count);
    let of_node = |node: &[u8]| match *node {
        [a, b, c, d, e, f] => [[0, a, b, c], [0, d, e, f]],
        [a, b, c, middle, d, e, f] => [[middle >> 4, a, b, c], [middle & 0xf, d, e, f]],
        [a, b, c, d, e, f, g, h] => [[a, b, c, d], [e, f, g, h]],
        _ => [[0; 4]; 2],
    };
    tree.chunks_exact(usize::from(record_size / 4).max(1))
        .flat_map(of_node)
        .map(|side| is_record(u32::from_be_bytes(side)))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::count_records;

    #[test]
    fn sides_that_lead_to_records_are_counted_in_every_size() {
        // Two nodes: to the other, to nothing; to a record, to a record far away.
        let small = [0, 0, 1, 0, 0, 2, 0, 0, 20, 1, 0, 0];
        assert_eq!(count_records(&small, 24, 2), 2);
        let medium = [0, 0, 1, 0, 0, 0, 2, 0, 0, 2, 0x10, 0, 0, 1];
        assert_eq!(count_records(&medium, 28, 2), 1);
        let large = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 20, 1, 0, 0, 0];
        assert_eq!(count_records(&large, 32, 2), 2);
        assert_eq!(count_records(&[], 24, 0), 0);
    }
}
