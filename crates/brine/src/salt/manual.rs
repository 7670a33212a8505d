//! Man pages and completions of Salt's commands: describes their syntax to the generators of both.

use std::collections::BTreeSet;

use clap::{Arg, ArgAction, Command};

use super::optparse::{Opt, Syntax, Takes};

impl<K> Syntax<K> {
    /// The syntax. The page is called `brine-salt-master`, as it must not take the place of Salt's own page.
    pub(super) fn manual(&self) -> Command {
        let name = format!("brine-{}", self.program);
        let program = self.program;
        Command::new(program)
            .display_name(name)
            .about(self.about)
            .override_usage(format!("brine {program} {}", self.usage))
            .disable_help_flag(true)
            .args(self.arguments())
    }

    fn arguments(&self) -> Vec<Arg> {
        let mut taken = BTreeSet::new();
        let options = self.options.iter().copied().flatten();
        // Those without help are between this program's own processes.
        let options = options.filter(|option| !option.help.is_empty());
        // Of two options with one name the first has it, as for the parser.
        options
            .map(|option| argument(option, |name| taken.insert(name)))
            .collect()
    }
}

fn argument<K>(option: &Opt<K>, mut is_free: impl FnMut(&'static str) -> bool) -> Arg {
    let mut argument = Arg::new(option.names.last().copied().unwrap_or_default())
        .help(option.help)
        .action(ArgAction::Append);
    for name in option.names.iter().filter(|name| is_free(name)) {
        argument = match name.strip_prefix("--") {
            Some(long) if argument.get_long().is_none() => argument.long(long),
            Some(long) => argument.visible_alias(long),
            None => match name.chars().nth(1) {
                Some(short) if argument.get_short().is_none() => argument.short(short),
                Some(short) => argument.visible_short_alias(short),
                None => argument,
            },
        };
    }
    match option.takes {
        Takes::Nothing => argument.action(ArgAction::SetTrue),
        Takes::Text(value) | Takes::Number(value) | Takes::Decimal(value) => {
            argument.value_name(value)
        }
        Takes::OneOf(value, choices) => argument
            .value_name(value)
            .value_parser(clap::builder::PossibleValuesParser::new(choices)),
    }
}
