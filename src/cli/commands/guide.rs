//! `votive guide`: its pages.

use crate::cli::exit_code::Code;
use crate::cli::output::print;
use crate::cli::show::markdown::rendered;
use crate::error::Error;
use crate::guide::{PAGES, page};
use crate::runner::Failure;
use crate::terminal::{Look, wrapped};

pub(super) fn execute(topic: Option<&str>) -> Result<Code, Failure> {
    let look = Look::of(std::io::stdout());
    let Some(topic) = topic else {
        let lines: Vec<String> = PAGES.iter().map(|page| format!("  {:<12}{}", page.name, page.summary)).collect();
        print(&wrapped(&format!("`votive guide TOPIC` shows one of these:\n\n{}\n", lines.join("\n")), look.width))?;
        return Ok(Code::Ok);
    };
    let page = page(topic).map_err(|near| {
        let help = match near {
            Some(name) => format!("did you mean `votive guide {name}`?"),
            None => "`votive guide` lists its pages".to_owned(),
        };
        Error::usage(format!("the guide has no page `{topic}`")).help(help)
    })?;
    print(&rendered(&page.text(), look))?;
    Ok(Code::Ok)
}
