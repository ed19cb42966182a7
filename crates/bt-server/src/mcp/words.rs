//! What an assistant reads: results in lines, failures with what to do next.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::Value;

use crate::error::ApiError;

/// What an assistant reads before the results.
pub(super) fn summary(document: &Value) -> String {
    let looked_through = &document["allowed"];
    let mut text = match (&document["results"], &document["best"]["probability"]) {
        (Value::Array(rows), _) if !rows.is_empty() => {
            format!("{} of {} results:", rows.len(), document["matched"])
        }
        (_, Value::Number(best)) => format!(
            "Nothing here shows that: {looked_through} pictures looked through, the nearest shows it with \
             probability {best}. min_score 0 shows the nearest ones."
        ),
        _ => format!("Nothing here shows that: {looked_through} pictures looked through."),
    };
    for warning in document["warnings"].as_array().into_iter().flatten() {
        text.push_str("\nNote: ");
        text.push_str(warning.as_str().unwrap_or_default());
    }
    text
}

/// A result in one line.
pub(super) fn line(row: &Value) -> String {
    let score = ["probability", "similarity", "words"]
        .into_iter()
        .find_map(|name| row[name].as_f64().map(|value| format!("{name} {value:.3}")));
    let path = row["path"].as_str().unwrap_or("(the file has vanished)");
    let taken = row["taken"]
        .as_str()
        .map(|taken| format!(", taken {taken}"));
    format!(
        "{}. {path} ({}{}, id {})",
        row["rank"],
        score.unwrap_or_default(),
        taken.unwrap_or_default(),
        row["id"].as_str().unwrap_or_default(),
    )
}

/// What people and programs read.
pub(super) fn answered(blocks: Vec<ContentBlock>, document: Value) -> CallToolResult {
    let mut result = CallToolResult::success(blocks);
    result.structured_content = Some(document);
    result
}

/// A failure is a result of the tool too, so that the assistant reads what to do and does it.
pub(super) fn told(outcome: Result<CallToolResult, ApiError>) -> CallToolResult {
    outcome
        .unwrap_or_else(|error| CallToolResult::error(vec![ContentBlock::text(words_of(&error))]))
}

pub(super) fn words_of(error: &ApiError) -> String {
    let problem = error.problem();
    format!("{}: {}; {}", problem.title, problem.detail, problem.hint)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_is_one_line_with_what_is_needed_to_go_on() {
        let row = json!({
            "rank": 2, "probability": 0.91, "path": "/p/sofa.jpg", "taken": "2024-07-03T12:00:00", "id": "ab",
        });
        let said = "2. /p/sofa.jpg (probability 0.910, taken 2024-07-03T12:00:00, id ab)";
        assert_eq!(line(&row), said);
        let gone = json!({ "rank": 1, "similarity": 0.5, "path": null, "id": "cd" });
        assert_eq!(
            line(&gone),
            "1. (the file has vanished) (similarity 0.500, id cd)"
        );
    }

    #[test]
    fn nothing_found_says_how_near_it_came_and_warnings_are_told() {
        let nothing = json!({
            "results": [], "allowed": 81, "best": { "probability": 0.2 }, "warnings": ["no graph"],
        });
        let said = summary(&nothing);
        assert!(
            said.starts_with("Nothing here shows that: 81 pictures"),
            "{said}"
        );
        assert!(
            said.contains("0.2") && said.ends_with("Note: no graph"),
            "{said}"
        );
        let some = json!({ "results": [{}], "matched": 7, "warnings": [] });
        assert_eq!(summary(&some), "1 of 7 results:");
    }

    #[test]
    fn a_failure_is_a_result_that_says_what_to_do() {
        let result = told(Err(ApiError::not_found("no picture").hint("look again")));
        assert_eq!(result.is_error, Some(true));
        let text = result.content[0].as_text().unwrap();
        assert_eq!(text.text, "It is not here: no picture; look again");
    }
}
