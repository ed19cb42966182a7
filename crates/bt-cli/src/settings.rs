//! Where a flag's value comes from: the command line, else the environment (`BT_*`, named in each
//! flag's help), else the settings file, else the default.

use std::env;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, Error, FromArgMatches};
use toml::{Table, Value};

use crate::text;

/// Names another settings file than the usual one.
const SETTINGS_VARIABLE: &str = "BT_SETTINGS";

/// Least likeness of a name that is proposed for one that is unknown.
const LIKE: f64 = 0.6;

/// Reads the command line of a program. Ends the program with a message and exit code 2 when it, or the
/// settings file, makes no sense, and with 0 after `--help` and `--version`.
///
/// The settings file is `$BT_SETTINGS`, else `bridgetower/settings.toml` in the user's configuration
/// folder: long flag names and values, either at the top (for all programs that have the flag) or in a
/// table named like the program (`[bt-search]`), where a name that the program does not know is an error.
/// Both serve the program's commands as well.
pub fn parse<Cli: CommandFactory + FromArgMatches>() -> Cli {
    let read = Settings::read().and_then(|settings| match settings {
        Some(settings) => settings.as_defaults_of(Cli::command()),
        None => Ok(Cli::command()),
    });
    let mut command = read.unwrap_or_else(|error| error.format(&mut Cli::command()).exit());
    let matches = command.get_matches_mut();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// A settings file that was read.
struct Settings {
    path: PathBuf,
    table: Table,
}

impl Settings {
    /// The file that is asked for, or the usual one if it is there.
    fn read() -> Result<Option<Self>, Error> {
        let named = env::var_os(SETTINGS_VARIABLE).map(PathBuf::from);
        let asked_for = named.is_some();
        let Some(path) = named.or_else(usual_path) else {
            return Ok(None);
        };
        match fs_err::read_to_string(&path) {
            Ok(text) => Self::from_text(path, &text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked_for => Ok(None),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    fn from_text(path: PathBuf, text: &str) -> Result<Self, Error> {
        match text.parse::<Table>() {
            Ok(table) => Ok(Self { path, table }),
            Err(error) => Err(refused(format!(
                "cannot read the settings `{}`: {error}",
                text::path(&path)
            ))),
        }
    }

    /// Values of the file become the defaults of the flags that the program has; a table named like the
    /// program wins over the top of the file.
    fn as_defaults_of(&self, command: Command) -> Result<Command, Error> {
        let none = Table::new();
        let own = match self.table.get(command.get_name()) {
            None => &none,
            Some(Value::Table(own)) => own,
            Some(_) => return Err(self.wrong(command.get_name(), "is a table's name")),
        };
        let known = long_names(&command);
        if let Some(unknown) = own.keys().find(|key| !known.contains(key)) {
            let likeness = |name: &str| strsim::normalized_levenshtein(name, unknown);
            let nearest = known
                .iter()
                .map(String::as_str)
                .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
                .filter(|name| likeness(name) >= LIKE)
                .map_or_else(String::new, |name| format!("; is it `{name}`?"));
            let what = format!("is no flag of {}{nearest}", command.get_name());
            return Err(self.wrong(unknown, &what));
        }
        self.fill(command, own)
    }

    fn fill(&self, mut command: Command, own: &Table) -> Result<Command, Error> {
        let flags: Vec<Arg> = command.get_arguments().cloned().collect();
        for flag in flags {
            let Some(name) = flag.get_long() else {
                continue;
            };
            let Some(value) = own.get(name).or_else(|| self.table.get(name)) else {
                continue;
            };
            let texts = self.texts(name, &flag, value)?;
            // An empty list says nothing.
            if !texts.is_empty() {
                command = command.mut_arg(flag.get_id(), |flag| {
                    flag.required(false).default_values(texts)
                });
            }
        }
        let parts: Vec<Command> = command.get_subcommands().cloned().collect();
        for part in parts {
            let name = part.get_name().to_owned();
            let filled = self.fill(part, own)?;
            command = command.mut_subcommand(&name, |_| filled);
        }
        Ok(command)
    }

    /// A value as it would stand on a command line. The flag's own parser reads it here already, so that what it
    /// refuses is told with the file's name.
    fn texts(&self, name: &str, flag: &Arg, value: &Value) -> Result<Vec<String>, Error> {
        let is_list = matches!(flag.get_action(), ArgAction::Append);
        let texts: Option<Vec<String>> = match value {
            Value::Array(values) if is_list => values.iter().map(scalar).collect(),
            value => scalar(value).map(|text| vec![text]),
        };
        let texts = texts.ok_or_else(|| {
            let or_list = if is_list { ", or a list of these" } else { "" };
            let what = format!("takes a text, a number, true or false{or_list}");
            self.wrong(name, &what)
        })?;
        let parser = match flag.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => ValueParser::bool(),
            _ => flag.get_value_parser().clone(),
        };
        let mut stand_in = Arg::new("value")
            .long(name.to_owned())
            .action(ArgAction::Append)
            .value_parser(parser);
        if let Some(delimiter) = flag.get_value_delimiter() {
            stand_in = stand_in.value_delimiter(delimiter);
        }
        let line = texts.iter().map(|text| format!("--{name}={text}"));
        Command::new("settings")
            .no_binary_name(true)
            .disable_help_flag(true)
            .arg(stand_in)
            .try_get_matches_from(line)
            .map_err(|mut error| {
                let place = format!("{name} in {}", text::path(&self.path));
                error.insert(ContextKind::InvalidArg, ContextValue::String(place));
                error
            })?;
        Ok(texts)
    }

    fn wrong(&self, name: &str, what: &str) -> Error {
        let path = text::path(&self.path);
        refused(format!("`{name}` in the settings `{path}` {what}"))
    }
}

fn usual_path() -> Option<PathBuf> {
    let folder = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".config")))?;
    Some(folder.join("bridgetower/settings.toml"))
}

fn refused(what: String) -> Error {
    Error::raw(ErrorKind::ValueValidation, what)
}

/// Names of the flags of a program and of its commands.
fn long_names(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(Arg::get_long);
    own.map(str::to_owned)
        .chain(command.get_subcommands().flat_map(long_names))
        .collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Parser, Subcommand};

    #[derive(Parser)]
    #[command(name = "bt-test")]
    struct Cli {
        #[arg(long, default_value_t = 10, value_parser = crate::at_least_one)]
        count: usize,
        #[arg(long)]
        exclude: Vec<String>,
        #[arg(long)]
        exact: bool,
        #[command(subcommand)]
        part: Option<Part>,
    }

    #[derive(Subcommand)]
    enum Part {
        Learn(Learn),
    }

    #[derive(Args)]
    struct Learn {
        #[arg(long, default_value_t = 3)]
        epochs: usize,
        #[arg(long)]
        out: String,
    }

    fn defaults(settings: &str) -> Result<Command, Error> {
        Settings::from_text("/home/me/s.toml".into(), settings)?.as_defaults_of(Cli::command())
    }

    fn read(settings: &str, line: &[&str]) -> Cli {
        let command = defaults(settings).unwrap();
        let matches = command.get_matches_from([&["bt-test"], line].concat());
        Cli::from_arg_matches(&matches).unwrap()
    }

    #[track_caller]
    fn assert_refused(settings: &str, words: &[&str]) {
        let message = defaults(settings).unwrap_err().to_string();
        for word in ["/home/me/s.toml"].iter().chain(words) {
            assert!(message.contains(word), "`{word}` is missing: {message}");
        }
        assert!(!message.contains("--"), "there is no such flag: {message}");
    }

    #[test]
    fn a_flag_wins_over_the_programs_table_which_wins_over_the_top_of_the_file() {
        let settings = "count = 3\nexclude = [\"a\", \"b\"]\n[bt-test]\ncount = 5\nexact = true";
        let plain = read(settings, &[]);
        assert_eq!((plain.count, plain.exact), (5, true));
        assert_eq!(plain.exclude, ["a", "b"]);
        assert_eq!(read(settings, &["--count", "7"]).count, 7);
        let one = read("exclude = \"a\"\n[bt-test]\ncount = \"4\"", &[]);
        assert_eq!((one.count, one.exclude), (4, vec!["a".to_owned()]));
    }

    #[test]
    fn an_empty_list_says_nothing() {
        let own = read("exclude = [\"a\"]\n[bt-test]\nexclude = []", &[]);
        assert!(own.exclude.is_empty());
    }

    #[test]
    fn commands_have_their_settings_too() {
        let settings = "out = \"there\"\n[bt-test]\nepochs = 9";
        let Some(Part::Learn(learn)) = read(settings, &["learn"]).part else {
            panic!("another command");
        };
        assert_eq!((learn.epochs, learn.out.as_str()), (9, "there"));
    }

    #[test]
    fn other_programs_flags_may_stand_at_the_top_and_in_their_tables() {
        let settings = "thumbnails = \"never\"\n[bt-other]\nanything = [[]]";
        assert_eq!(read(settings, &[]).count, 10);
    }

    #[test]
    fn a_name_that_the_program_does_not_know_is_told_with_the_nearest() {
        assert_refused("[bt-test]\nexlude = \"a\"", &["`exlude`", "`exclude`"]);
        assert_refused("[bt-test]\nepoch = 1", &["`epoch`", "`epochs`"]);
        assert_refused("[bt-test]\nzzz = 1", &["`zzz` in the settings"]);
        assert_refused("[bt-test.learn]\nepochs = 1", &["`learn`"]);
        assert_refused("bt-test = 1", &["`bt-test`"]);
    }

    #[test]
    fn a_value_that_makes_no_sense_is_told_with_the_file() {
        assert_refused("count = 0", &["count", "'0'", "at least 1"]);
        assert_refused("[bt-test]\nepochs = \"many\"", &["epochs", "'many'"]);
        assert_refused("exact = 1", &["exact", "'1'", "true, false"]);
        for nested in ["[[]]", "[[\"a\"]]", "[{ a = 1 }]", "1979-05-27"] {
            let settings = format!("exclude = {nested}");
            assert_refused(&settings, &["`exclude`", "or a list of these"]);
        }
        assert_refused("count = [1, 2]", &["`count`", "takes a text, a number"]);
        assert_refused("count = 1 2", &["cannot read"]);
    }
}
