//! Reads command lines the way Kafka's tools do: long and short options, `--name=value`, `-xvalue`,
//! unambiguous beginnings of long names.

use crate::failure::Failure;

/// One option that a command knows.
pub struct Opt {
    /// Without the dashes.
    pub long: &'static str,
    /// The one-letter form.
    pub short: Option<char>,
    /// Whether it takes a value.
    pub takes_value: bool,
}

/// A flag without a value.
pub const fn flag(long: &'static str, short: Option<char>) -> Opt {
    Opt { long, short, takes_value: false }
}

/// An option with a value.
pub const fn option(long: &'static str, short: Option<char>) -> Opt {
    Opt { long, short, takes_value: true }
}

/// A command line taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    options: Vec<(&'static str, String)>,
    /// What is no option, in order.
    pub positional: Vec<String>,
    /// `-h` or `--help` was there.
    pub help: bool,
}

impl Parsed {
    /// Takes a command line apart; the error is a sentence for the user.
    pub fn parse(args: &[String], known: &[Opt]) -> Result<Parsed, String> {
        let mut parsed = Parsed::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                parsed.positional.extend(args.by_ref().cloned());
            } else if arg == "-h" || arg == "--help" {
                parsed.help = true;
            } else if let Some(long) = arg.strip_prefix("--") {
                let (name, attached) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                parsed.take(find_long(known, name)?, attached, &mut args)?;
            } else if let Some(short) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                let mut letters = short.chars();
                let letter = letters.next().unwrap_or_default();
                let opt = known.iter().find(|opt| opt.short == Some(letter));
                let opt = opt.ok_or_else(|| format!("unknown option -{letter}"))?;
                let rest = letters.as_str();
                let rest = rest.strip_prefix('=').unwrap_or(rest);
                let attached = (!rest.is_empty()).then(|| rest.to_owned());
                parsed.take(opt, attached, &mut args)?;
            } else {
                parsed.positional.push(arg.clone());
            }
        }
        Ok(parsed)
    }

    fn take<'a>(
        &mut self,
        opt: &Opt,
        attached: Option<String>,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        let value = match (opt.takes_value, attached) {
            (false, None) => String::new(),
            (false, Some(_)) => return Err(format!("--{} takes no value", opt.long)),
            (true, Some(value)) => value,
            (true, None) => {
                let next = rest.next().cloned();
                next.ok_or_else(|| format!("--{} needs a value", opt.long))?
            }
        };
        self.options.push((opt.long, value));
        Ok(())
    }

    /// Whether the option was given.
    pub fn has(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// The last value of the option.
    pub fn value(&self, long: &str) -> Option<&str> {
        let given = self.options.iter().rev().find(|(name, _)| *name == long);
        given.map(|(_, value)| value.as_str())
    }

    /// All values of the option, in order.
    pub fn values<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.options.iter().filter(move |(name, _)| *name == long).map(|(_, value)| value.as_str())
    }
}

fn find_long<'a>(known: &'a [Opt], name: &str) -> Result<&'a Opt, String> {
    if let Some(exact) = known.iter().find(|opt| opt.long == name) {
        return Ok(exact);
    }
    let mut beginnings = known.iter().filter(|opt| !name.is_empty() && opt.long.starts_with(name));
    match (beginnings.next(), beginnings.next()) {
        (Some(only), None) => Ok(only),
        (Some(one), Some(other)) => {
            Err(format!("--{name} could be --{} or --{}", one.long, other.long))
        }
        _ => Err(format!("unknown option --{name}")),
    }
}

/// A command's arguments; `None` if help was asked for, which is printed here.
pub fn parse_or_help(
    args: &[String],
    known: &[Opt],
    usage: &str,
) -> Result<Option<Parsed>, Failure> {
    let parsed = Parsed::parse(args, known).map_err(|why| wrong(usage, &why))?;
    if parsed.help {
        print!("{usage}");
        return Ok(None);
    }
    Ok(Some(parsed))
}

fn wrong(usage: &str, why: &str) -> Failure {
    Failure::usage(format!("{usage}\n{why}"))
}

/// Runs a command that takes options only: its help and what is wrong with its arguments are told here.
pub fn with_usage(
    args: &[String],
    known: &[Opt],
    usage: &str,
    run: impl FnOnce(&Parsed) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(parsed) = parse_or_help(args, known, usage)? else { return Ok(()) };
    if let Some(extra) = parsed.positional.first() {
        return Err(wrong(usage, &format!("unexpected argument {extra}")));
    }
    run(&parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Opt] = &[
        option("config", Some('c')),
        option("cluster-id", Some('t')),
        flag("standalone", Some('s')),
        option("feature", Some('f')),
    ];

    fn parse(line: &str) -> Result<Parsed, String> {
        let args: Vec<String> =
            line.split(' ').filter(|a| !a.is_empty()).map(str::to_owned).collect();
        Parsed::parse(&args, KNOWN)
    }

    #[test]
    fn every_notation_of_kafkas_tools() {
        for line in [
            "-c x --cluster-id=y -f a=1 --feature b=2 -s file",
            "--config x -ty -fa=1 -f=b=2 --stand file",
            "-cx --cluster-id y --feature=a=1 --feature=b=2 --standalone -- file",
        ] {
            let parsed = parse(line).unwrap();
            assert_eq!(parsed.value("config"), Some("x"), "{line}");
            assert_eq!(parsed.value("cluster-id"), Some("y"), "{line}");
            assert_eq!(parsed.values("feature").collect::<Vec<_>>(), ["a=1", "b=2"], "{line}");
            assert!(parsed.has("standalone") && parsed.positional == ["file"], "{line}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (line, hint) in [
            ("--nope", "unknown option --nope"),
            ("-x", "unknown option -x"),
            ("--config", "needs a value"),
            ("--c x", "could be"),
            ("--standalone=1", "takes no value"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(hint), "{line}: {error}");
        }
        assert!(parse("format --help").unwrap().help);
    }
}
