//! `brine completions`: shell completion scripts, for this program and for Salt's commands.
//!
//! A command of Salt's has two names: `brine salt-key`, and `salt-key` where `brine links` made it. The script knows the
//! first; for the second, the shell is told that it completes like the first. Names of minions and functions are asked
//! for while somebody types ([`values`]).

mod values;

use std::io::Write;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use crate::salt::Personality;
use crate::terminal;

/// The arguments of `brine completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// For which shell
    #[arg(required_unless_present = "values")]
    shell: Option<Shell>,
    /// What the scripts ask: the names that fit the last of these words
    #[arg(long, hide = true, conflicts_with = "shell")]
    values: bool,
    #[arg(hide = true, last = true, requires = "values")]
    words: Vec<String>,
}

/// The exit code that says to a script: a name belongs here, and there is none that fits.
const NONE_FITS: u8 = 3;

/// Prints the script.
pub(crate) fn run(arguments: &Arguments, program: Command) -> anyhow::Result<ExitCode> {
    let mut out = terminal::stdout();
    match arguments.shell {
        Some(shell) => out.write_all(script(shell, program).as_bytes())?,
        None => {
            let names = values::fitting(&arguments.words);
            for name in names.iter().flatten() {
                writeln!(out, "{name}")?;
            }
            if names.is_some_and(|names| names.is_empty()) {
                return Ok(ExitCode::from(NONE_FITS));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell, mut program: Command) -> String {
    // First, so that Salt's commands do not get this program's global options, whose letters mean other things there.
    program.build();
    let salts = Personality::ALL.iter().map(|personality| {
        let name = format!("brine {}", personality.name());
        personality.manual().bin_name(name)
    });
    let mut program = program.subcommands(salts);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "brine", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script + BASH + &for_each_name(bash_name),
        Shell::Fish => script + FISH + &for_each_name(fish_name),
        Shell::Zsh => zsh(&script),
        // Nobody has asked for more than `brine salt-key` there.
        _ => script,
    }
}

fn for_each_name(line: fn(&str) -> String) -> String {
    let names = Personality::ALL.iter();
    names.map(|personality| line(personality.name())).collect()
}

/// Offers names, else what `_brine` offers, and no files where a name belongs; completes `salt-key …` as `brine salt-key …`.
const BASH: &str = r#"
_brine_with_names() {
    local IFS=$'\n' names
    names=$(command brine completions --values -- "${COMP_WORDS[@]:0:COMP_CWORD}" "$2" 2>/dev/null)
    if (( $? == 3 )); then
        COMPREPLY=()
        compopt +o bashdefault +o default 2>/dev/null
        return
    fi
    COMPREPLY=($names)
    unset IFS
    (( ${#COMPREPLY[@]} )) && return
    # Bash takes --option=value for three words.
    if [[ "$3" == = ]]; then
        _brine "$1" "$2" "${COMP_WORDS[COMP_CWORD-2]}"
    else
        _brine "$@"
    fi
}

complete -F _brine_with_names -o bashdefault -o default brine

_brine_salt() {
    COMP_WORDS=(brine "${1##*/}" "${COMP_WORDS[@]:1}")
    COMP_CWORD=$((COMP_CWORD + 1))
    _brine_with_names brine "$2" "$3"
}

"#;

/// Names for both names of a command.
const FISH: &str = r"
function __fish_brine_names
    command brine completions --values -- (commandline -opc) (commandline -ct) 2>/dev/null
end

complete -c brine -a '(__fish_brine_names)'
";

/// What completes Salt's own command stays.
fn bash_name(name: &str) -> String {
    format!(
        "complete -p {name} >/dev/null 2>&1 || complete -F _brine_salt -o bashdefault -o default {name}\n"
    )
}

fn fish_name(name: &str) -> String {
    format!("complete -c {name} --wraps 'brine {name}'\n")
}

/// In place of the script's end, which knows one name: zsh loads the file for any of those in its first line.
fn zsh(script: &str) -> String {
    const BEGIN: &str = "#compdef brine\n";
    const END: &str = "if [ \"$funcstack[1]\" = \"_brine\" ]; then";
    let names: String = for_each_name(|name| format!(" {name}"));
    let body = script.strip_prefix(BEGIN).unwrap_or(script);
    let body = body.split(END).next().unwrap_or(body);
    format!(
        r#"#compdef brine{names}
{body}_brine_with_names() {{
    local -a names
    names=(${{(f)"$(command brine completions --values -- "${{(@)words[1,CURRENT]}}" 2>/dev/null)"}})
    if (( $#names )); then
        compadd -a names
    else
        _brine "$@"
    fi
}}

_brine_salt() {{
    # Salt's own command, with a completion of its own.
    if [[ "${{commands[$service]:A:t}}" != brine ]] && (( $+functions[_salt] )); then
        _salt "$@"
        return
    fi
    words=(brine "$service" "${{(@)words[2,-1]}}")
    (( CURRENT++ ))
    _brine_with_names "$@"
}}

compdef _brine_with_names brine
compdef _brine_salt{names}
if [ "$funcstack[1]" = "_brine" ]; then
    case "$service" in
        brine) _brine_with_names "$@" ;;
        *) _brine_salt "$@" ;;
    esac
fi
"#
    )
}
