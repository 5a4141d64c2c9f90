//! `votive plan`: the trials and what each comes to; nothing is started.

use serde_json::json;

use crate::cli::args::Plan as Arguments;
use crate::cli::exit_code::Code;
use crate::cli::output::print;
use crate::cli::show::plan::text;
use crate::cli::show::plan_csv::csv;
use crate::cli::show::terminal::Terminal;
use crate::runner::{Failure, Session};
use crate::terminal::Look;

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let session = Session::open(&arguments.planning.asked()?, &Terminal::default())?;
    let text = if arguments.json {
        let mut plan = serde_json::to_value(&session.plan).unwrap_or_default();
        for (value, trial) in plan["trials"].as_array_mut().into_iter().flatten().zip(&session.plan.trials) {
            value["label"] = json!(session.plan.label(trial));
            value["evaluation"] = json!(trial.evaluation(session.plan.common_context)?);
        }
        format!("{plan:#}\n")
    } else if arguments.csv {
        csv(&session.plan)
    } else {
        text(&session, Look::of(std::io::stdout()))?
    };
    print(&text)?;
    Ok(Code::Ok)
}
