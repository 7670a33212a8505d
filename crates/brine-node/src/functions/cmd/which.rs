//! Finding programs: `which` and the list of shells.
//!
//! Facts: Salt's `salt.utils.path.which`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use brine_wire::{Value, python_text};
use rustix::fs::{Access, access};

/// The path of a program as text; nil if there is none.
pub(super) fn which(program: &str) -> Value {
    match find(program, std::env::var_os("PATH").as_deref()) {
        Some(path) => path.to_string_lossy().as_ref().into(),
        None => Value::Nil,
    }
}

/// The first program of a list that exists.
pub(super) fn which_bin(programs: &Value) -> Value {
    let programs = match programs {
        Value::Array(programs) => programs.as_slice(),
        Value::Str(_) => std::slice::from_ref(programs),
        _ => return Value::Nil,
    };
    let found = programs
        .iter()
        .map(|program| which(&python_text::str(program)));
    found
        .into_iter()
        .find(|path| *path != Value::Nil)
        .unwrap_or(Value::Nil)
}

/// The file that a program's name resolves to in a search path.
pub(super) fn find(program: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.is_empty() {
        return None;
    }
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| is_executable(path));
    }
    let folders = std::env::split_paths(path.unwrap_or_default());
    let files = folders.map(|folder| folder.join(program));
    files
        .into_iter()
        .find(|file| file.is_absolute() && is_executable(file))
}

/// Whether a file is an executable.
pub(super) fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// The shells of `/etc/shells`.
pub(super) fn shells() -> Value {
    let text = std::fs::read_to_string("/etc/shells").unwrap_or_default();
    let lines = text.lines().map(str::trim);
    let shells = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    shells.map(Value::from).collect::<Vec<_>>().into()
}
