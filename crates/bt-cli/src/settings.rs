//! Where a flag's value comes from: the command line, else the environment (`BT_*`, named in each
//! flag's help), else the settings file, else the default.

use std::env;
use std::path::PathBuf;

use clap::{Command, CommandFactory, FromArgMatches};
use toml::{Table, Value};

/// Names another settings file than the usual one.
const SETTINGS_VARIABLE: &str = "BT_SETTINGS";

/// Reads the command line of a program. Ends the program with a message and exit code 2 when it makes no
/// sense, and with 0 after `--help` and `--version`.
///
/// The settings file is `$BT_SETTINGS`, else `bridgetower/settings.toml` in the user's configuration
/// folder: long flag names and values, either at the top (for all programs that have the flag) or in a
/// table named like the program (`[bt-search]`).
pub fn parse<Cli: CommandFactory + FromArgMatches>() -> Cli {
    let mut command = Cli::command();
    command = match settings() {
        Ok(Some(table)) => with_defaults(command, &table),
        Ok(None) => command,
        Err(message) => command
            .error(clap::error::ErrorKind::ValueValidation, message)
            .exit(),
    };
    let matches = command.get_matches_mut();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

fn settings() -> Result<Option<Table>, String> {
    let named = env::var_os(SETTINGS_VARIABLE).map(PathBuf::from);
    let asked_for = named.is_some();
    let Some(path) = named.or_else(usual_path) else {
        return Ok(None);
    };
    match fs_err::read_to_string(&path) {
        Ok(text) => text
            .parse::<Table>()
            .map(Some)
            .map_err(|error| format!("cannot read the settings `{}`: {error}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked_for => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn usual_path() -> Option<PathBuf> {
    let folder = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".config")))?;
    Some(folder.join("bridgetower/settings.toml"))
}

/// Values of the file become the defaults of the flags that the program has; a table named like the
/// program wins over the top of the file.
fn with_defaults(mut command: Command, table: &Table) -> Command {
    let own = table.get(command.get_name()).and_then(Value::as_table);
    let flags: Vec<(String, String)> = command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_id().to_string(), arg.get_long()?.to_owned())))
        .collect();
    for (id, long) in flags {
        let value = own
            .and_then(|own| own.get(&long))
            .or_else(|| table.get(&long));
        let Some(texts) = value.and_then(texts_of) else {
            continue;
        };
        command = command.mut_arg(id, |arg| arg.default_values(texts));
    }
    command
}

fn texts_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Float(number) => Some(vec![number.to_string()]),
        Value::Boolean(flag) => Some(vec![flag.to_string()]),
        Value::Array(values) => values
            .iter()
            .map(|one| Some(texts_of(one)?.remove(0)))
            .collect(),
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// A flag's value that counts something: a number, and not zero.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[command(name = "bt-test")]
    struct Cli {
        #[arg(long, default_value_t = 10)]
        count: usize,
        #[arg(long)]
        exclude: Vec<String>,
        #[arg(long)]
        exact: bool,
    }

    fn read(settings: &str, line: &[&str]) -> Cli {
        let table = settings.parse::<Table>().unwrap();
        let command = with_defaults(Cli::command(), &table);
        let matches = command.get_matches_from([&["bt-test"], line].concat());
        Cli::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn a_flag_wins_over_the_programs_table_which_wins_over_the_top_of_the_file() {
        let settings = "count = 3\nexclude = [\"a\", \"b\"]\n[bt-test]\ncount = 5\nexact = true";
        let plain = read(settings, &[]);
        assert_eq!((plain.count, plain.exact), (5, true));
        assert_eq!(plain.exclude, ["a", "b"]);
        assert_eq!(read(settings, &["--count", "7"]).count, 7);
        assert_eq!(read("unknown = 1", &[]).count, 10);
    }
}
