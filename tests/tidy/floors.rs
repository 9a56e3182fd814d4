//! Who may know whom: the floors of the house, read from the packages' Cargo.toml files.
//!
//! A package depends on packages of lower floors only, in its tests too; and there on itself, to have more of its
//! features. Exceptions are written down in
//! [`STAIRS`], so that each is a decision. The package `integration` drives the binaries from outside and may
//! use what it likes; nobody may depend on it. Reading is by line: a section in brackets, then names before
//! `=` or `.`; the workspace writes its manifests no other way.

/// The floor of each package.
const FLOORS: [(&str, usize); 10] = [
    ("hashring", 0),
    ("bitcask", 0),
    ("protocol", 1),
    ("net", 2),
    ("client", 2),
    ("cluster", 2),
    ("kvserver", 3),
    ("kvclient", 3),
    ("kvbench", 3),
    ("ecs", 3),
];
/// Pairs of one floor of which the first may use the second.
const STAIRS: [(&str, &str); 1] = [("client", "net")];
/// The package that stands outside the house.
const OUTSIDE: &str = "integration";

/// One package's manifest: where it is and what it says.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Its path from the top of the workspace.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

/// Complains of each manifest that breaks the rules of the house.
pub(crate) fn misplaced(manifest: &Manifest) -> Vec<String> {
    let (name, needed) = read(&manifest.text);
    let mut complaints = Vec::new();
    if !manifest.text.contains("[lints]\nworkspace = true") {
        complaints.push("does not take the workspace's lints".to_owned());
    }
    if name != OUTSIDE {
        match floor(&name) {
            None => complaints.push(format!("`{name}` has no floor; give it one in FLOORS")),
            Some(own) => complaints.extend(needed.iter().filter_map(|d| forbidden(&name, own, d))),
        }
    }
    complaints.into_iter().map(|complaint| format!("{}: {complaint}", manifest.path)).collect()
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().find(|(package, _)| *package == name).map(|(_, floor)| *floor)
}

fn forbidden(name: &str, own: usize, needed: &str) -> Option<String> {
    let is_stair = STAIRS.contains(&(name, needed)) || name == needed;
    let is_above = floor(needed).is_some_and(|theirs| theirs >= own) && !is_stair;
    (is_above || needed == OUTSIDE)
        .then(|| format!("`{name}` may not use `{needed}`: only lower floors"))
}

/// Returns the package's name and the names of all it depends on.
fn read(text: &str) -> (String, Vec<String>) {
    let (mut section, mut name, mut needed) = (String::new(), String::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            title.trim_matches(['[', ']']).clone_into(&mut section);
            let listed = section.split_once("dependencies.").map(|(_, listed)| listed.to_owned());
            needed.extend(listed);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.trim().split('.').next().unwrap_or_default();
        if section == "package" && key == "name" {
            value.trim().trim_matches('"').clone_into(&mut name);
        } else if section.ends_with("dependencies") {
            needed.push(key.to_owned());
        }
    }
    (name, needed)
}

/// Complains of each package from outside that the workspace's manifest names and the document `reasons` does
/// not.
pub(crate) fn without_reason(workspace: &str, reasons: &str) -> Vec<String> {
    let (_, needed) = read(workspace);
    let is_given = |name: &String| reasons.contains(&format!("`{name}`"));
    let outside = needed.into_iter().filter(|name| floor(name).is_none() && !is_given(name));
    outside.map(|name| format!("`{name}` stands without a reason in ARCHITECTURE.md")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(name: &str, dependencies: &str) -> usize {
        let lints = "[lints]\nworkspace = true";
        let text = format!("[package]\nname = \"{name}\"\n{lints}\n{dependencies}\n");
        misplaced(&Manifest { path: "x/Cargo.toml".to_owned(), text }).len()
    }

    #[test]
    fn a_package_uses_lower_floors_only() {
        assert_eq!(complaints("net", "[dependencies]\nprotocol.workspace = true"), 0);
        assert_eq!(complaints("client", "[dependencies]\nnet.workspace = true"), 0);
        assert_eq!(complaints("net", "[dependencies]\nclient.workspace = true"), 1);
        assert_eq!(complaints("net", "[dependencies]\ncluster = { path = \"../cluster\" }"), 1);
        assert_eq!(complaints("bitcask", "[dependencies]\nhashring.workspace = true"), 1);
        assert_eq!(complaints("bitcask", "[dependencies]\ncrc32fast.workspace = true"), 0);
        let with_features = "[dev-dependencies]\nbitcask = { path = \".\", features = [\"sim\"] }";
        assert_eq!(complaints("bitcask", with_features), 0);
    }

    #[test]
    fn every_kind_of_dependency_is_read() {
        for section in ["dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"]
        {
            assert_eq!(
                complaints("protocol", &format!("[{section}]\nnet = \"1\"")),
                1,
                "{section}"
            );
        }
        assert_eq!(complaints("protocol", "[dependencies.net]\nversion = \"1\""), 1);
        assert_eq!(complaints("protocol", "[dependencies]\nintegration = \"1\""), 1);
    }

    #[test]
    fn a_package_without_floor_or_lints_is_found() {
        assert_eq!(complaints("shed", ""), 1);
        assert_eq!(complaints("integration", "[dev-dependencies]\nkvserver = \"1\""), 0);
        let text = "[package]\nname = \"net\"\n".to_owned();
        assert_eq!(misplaced(&Manifest { path: String::new(), text }).len(), 1);
    }
    #[test]
    fn a_package_from_outside_needs_a_reason() {
        let workspace = "[workspace.dependencies]\nnet = \"1\"\nlog = \"1\"\nclap = { a = \"b\" }";
        assert_eq!(without_reason(workspace, "| `log` | x |").len(), 1);
        assert!(without_reason(workspace, "| `log`, `clap` | x |").is_empty());
    }
}
