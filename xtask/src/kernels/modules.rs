//! Modules of a kernel: which files have them, and what must be loaded before what. Debian's packages come without the
//! index that depmod makes on installation, so the modules themselves are asked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The files in `directory` that have `wanted`, in the order in which they can be loaded. What the kernel has built in
/// (`modules.builtin`) needs no file.
///
/// # Errors
///
/// A module is neither there nor built in, or needs one that is not.
pub fn in_order(directory: &Path, wanted: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let index = directory.join("modules.builtin");
    let index = fs::read_to_string(&index).with_context(|| format!("cannot read {}", index.display()))?;
    let mut needs = BTreeMap::new();
    for module in wanted.iter().filter(|module| !is_built_in(&index, module)) {
        let file = file(directory, module);
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        needs.insert((*module).to_owned(), depends(&content));
    }
    Ok(sorted(&needs)?
        .iter()
        .map(|module| file(directory, module))
        .collect())
}

fn file(directory: &Path, module: &str) -> PathBuf {
    directory.join(format!("{module}.ko"))
}

fn is_built_in(index: &str, module: &str) -> bool {
    index
        .lines()
        .any(|line| line.strip_suffix(".ko").and_then(|path| path.rsplit('/').next()) == Some(module))
}

/// What a module says that it needs: `depends=a,b` in its section .modinfo, strings that end with a zero byte each.
fn depends(module: &[u8]) -> Vec<String> {
    module
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="))
        .map(|names| String::from_utf8_lossy(names).into_owned())
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Every module after those that it needs.
fn sorted(needs: &BTreeMap<String, Vec<String>>) -> anyhow::Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    while order.len() < needs.len() {
        let next = needs
            .iter()
            .find(|(name, needs)| !order.contains(name) && needs.iter().all(|need| order.contains(need)));
        let Some((name, _)) = next else {
            let stuck = needs.iter().filter(|(name, _)| !order.contains(name));
            let stuck: Vec<String> = stuck
                .map(|(name, needs)| format!("{name} needs {}", needs.join(", ")))
                .collect();
            bail!(
                "modules are missing in xtask/src/kernels.rs: {}",
                stuck.join("; ")
            );
        };
        order.push(name.clone());
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(of: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        of.iter()
            .map(|(name, needs)| {
                (
                    (*name).to_owned(),
                    needs.iter().map(|need| (*need).to_owned()).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn every_module_comes_after_those_that_it_needs() {
        let order = sorted(&needs(&[
            ("a", &["c"]),
            ("b", &[]),
            ("c", &["b", "d"]),
            ("d", &[]),
        ]))
        .unwrap();
        assert_eq!(order, ["b", "d", "c", "a"]);
    }

    #[test]
    fn a_module_that_nobody_has_is_named() {
        let error = sorted(&needs(&[("a", &["b"]), ("b", &["x"]), ("c", &[])])).unwrap_err();
        assert!(error.to_string().ends_with("a needs b; b needs x"), "{error}");
    }

    #[test]
    fn modules_that_need_each_other_are_an_error_too() {
        assert!(sorted(&needs(&[("a", &["b"]), ("b", &["a"])])).is_err());
    }

    #[test]
    fn reads_what_a_module_needs_from_the_module() {
        assert_eq!(
            depends(b"\x7fELF\0\x01license=GPL\0license=GPL\0depends=mii,usbnet\0name=x\0"),
            ["mii", "usbnet"]
        );
        assert_eq!(depends(b"license=GPL\0depends=\0"), Vec::<String>::new());
        assert_eq!(depends(b""), Vec::<String>::new());
    }

    #[test]
    fn a_built_in_module_is_known_by_its_whole_name() {
        let index = "kernel/drivers/net/veth.ko\nkernel/net/sched/sch_ingress.ko\n";
        assert!(is_built_in(index, "veth") && is_built_in(index, "sch_ingress"));
        assert!(!is_built_in(index, "ingress") && !is_built_in(index, "net"));
    }
}
