//! A small shell that outlives the test run just long enough to clear away what the run leaves behind.
//!
//! Every process a test starts leads a process group of its own and is ended and reaped when its handle is
//! dropped, also by a panic; so are mounted file systems undone. What a drop cannot see to is the end of the test
//! run itself by Ctrl-C or `kill -9`. So the run tells a shell what there is, over a pipe; when the pipe closes,
//! for whatever reason, the shell kills the groups and undoes the mounts that remain. It has a group of its own,
//! lest Ctrl-C end it first.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

const SCRIPT: &str = r#"
while read -r verb item; do
    for one in "$@"; do
        shift
        [ "$one" = "$item" ] || set -- "$@" "$one"
    done
    [ "$verb" = keep ] && set -- "$@" "$item"
done
for one in "$@"; do
    case $one in group\ *) kill -s KILL -- "-${one#group }" ;; esac
done
for one in "$@"; do
    case $one in mount\ *) umount -l "${one#mount }" ;; esac
done
"#;

static KEEPER: OnceLock<Mutex<Child>> = OnceLock::new();

/// What a run must not leave behind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    /// The processes of a group.
    Group(u32),
    /// A mounted file system.
    Mount(&'a Path),
}

/// Says that `item` is there.
pub(crate) fn keep(item: Item) {
    tell("keep", item);
}

/// Says that `item` is gone.
pub(crate) fn forget(item: Item) {
    tell("forget", item);
}

fn tell(verb: &str, item: Item) {
    let item = match item {
        Item::Group(group) => format!("group {group}"),
        Item::Mount(path) => format!("mount {}", path.display()),
    };
    let keeper = KEEPER.get_or_init(start);
    let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = keeper.stdin.as_mut().expect("its input is a pipe");
    writeln!(pipe, "{verb} {item}").expect("the keeper listens as long as the tests run");
}

fn start() -> Mutex<Child> {
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "keeper"]).process_group(0).stdin(Stdio::piped());
    shell.stdout(Stdio::null()).stderr(Stdio::null());
    Mutex::new(shell.spawn().expect("a shell can be run"))
}
