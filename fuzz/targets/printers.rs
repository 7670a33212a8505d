//! What the outputters of Salt's commands show of any value that a minion returns.
//!
//! A program is no library, so its files are taken as they are.
#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the program uses more of these files"
)]

// Those files name them.
use anyhow as _;
use base64 as _;
use tracing as _;

mod terminal {
    //! In place of the program's writer, which the outputters write to at last, and of its list of characters.

    pub(crate) const fn acts(c: char) -> bool {
        matches!(c, '\0'..='\x08' | '\x0b'..='\x1f' | '\x7f'..='\u{9f}' | '\u{200b}'..='\u{200f}')
    }

    pub(crate) fn stdout() -> std::io::Stdout {
        std::io::stdout()
    }
}

#[path = "../../crates/brine/src/salt"]
mod salt {
    pub(crate) mod fuzzing;
    pub(crate) mod output;
    pub(crate) mod python;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| salt::fuzzing::fuzz_printers(bytes));
