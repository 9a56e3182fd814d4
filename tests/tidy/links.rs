//! Links from one document to another file of the project, which rot when files move.
//!
//! Looked at are Markdown's `[text](target)` outside code. A target with a scheme (`https:`) is somebody else's
//! and is not fetched; what follows `#` is not checked, for headings change their anchors with the viewer.

use std::path::Path;

/// Complains of each link in the document `path`, which says `text`, that leads to no file under `top`.
pub(crate) fn dead(top: &Path, path: &str, text: &str) -> Vec<String> {
    let folder = top.join(path).parent().map(Path::to_path_buf).unwrap_or_default();
    let mut complaints = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        is_code ^= line.trim_start().starts_with("```");
        let targets = targets(line).into_iter().filter(|_| !is_code);
        for target in targets.filter(|target| !folder.join(target).exists()) {
            complaints.push(format!("{path}:{}: `{target}` leads nowhere", index + 1));
        }
    }
    complaints
}

/// Returns the files that a line links to.
fn targets(line: &str) -> Vec<&str> {
    let prose = line.split('`').step_by(2);
    prose
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains(':'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_missing_file_is_found_with_its_line() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = "[a](main.rs) [b](https://x.y/z) [c](#here)\n[d](gone.md#e) `[f](g)`\n\
                    ```\n[h](i)\n```\n[j](tidy/none.rs)";
        assert_eq!(
            dead(top, "README.md", text),
            ["README.md:2: `gone.md` leads nowhere", "README.md:6: `tidy/none.rs` leads nowhere"]
        );
    }
}
