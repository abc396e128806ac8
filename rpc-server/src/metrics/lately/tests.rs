use super::*;

fn names() -> Vec<CommandName> {
    let name = |cmdid: Option<u32>, service: &str, method: &str| CommandName {
        cmdid,
        service: service.into(),
        method: method.into(),
    };
    vec![name(None, "other", "other"), name(Some(1), "log", "append")]
}

/// A minute in which the command at place 1 ended so often with each code, and lines were refused.
fn minute(calls: &[(Code, u64)], refused: u64) -> Lately {
    let mut lately = Lately::default();
    let of_command = &mut lately.commands.entry(1).or_default().minute;
    for (code, count) in calls {
        of_command.calls[usize::from(code_index(*code))] += count;
    }

    lately.all.minute.calls = of_command.calls;
    lately.all.minute.calls[usize::from(code_index(Code::INVALID_ARGUMENT))] += refused;
    lately
}

#[test]
fn all_is_not_well_while_a_third_of_the_calls_fail_and_critical_where_it_is_the_servers_fault() {
    use Severity::{Critical, Warning};

    let severity = |calls: &[(Code, u64)]| {
        let failing = minute(calls, 0).failing(&names());
        failing.map(|failing| failing.severity)
    };

    let cases = [
        (1_000, Code::NOT_FOUND, 0, None),
        (1_000, Code::NOT_FOUND, 40, None),
        (200, Code::NOT_FOUND, 100, Some(Warning)),
        (900, Code::INTERNAL, 60, Some(Warning)),
        (900, Code::INTERNAL, 100, Some(Critical)),
        (100, Code::NOT_FOUND, 100, Some(Critical)),
        (1, Code::INTERNAL, 4, None),
        (1, Code::CANCELLED, 400, None),
    ];
    for (good, code, failed, expected) in cases {
        let found = severity(&[(Code::OK, good), (code, failed)]);
        assert_eq!(
            found, expected,
            "{good} good calls, {failed} with code {code:?}"
        );
    }
    assert_eq!(severity(&[]), None);
}

#[test]
fn the_headline_names_what_fails_most_often() {
    let calls = [
        (Code::OK, 200),
        (Code::UNAVAILABLE, 90),
        (Code::INVALID_ARGUMENT, 10),
    ];
    let said = |refused| minute(&calls, refused).failing(&names()).unwrap().problem;

    assert_eq!(
        said(0),
        "33 % of the calls of the last minute failed (100 of 300), most often `log.append` with code 14 \
         UNAVAILABLE."
    );
    assert!(said(500).ends_with(
        "(600 of 800), most often lines and calls that were refused, with code 3 INVALID_ARGUMENT."
    ));

    let of_services = minute(&[(Code::OK, 1), (Code::new(1_042), 9)], 0);
    let problem = of_services.failing(&names()).unwrap().problem;
    assert!(
        problem.ends_with("`log.append` with a code of its service."),
        "{problem}"
    );
}
