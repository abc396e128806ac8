//! The handlers of tornado-TCP's README in this API, and who calls them.
//!
//! `tornado_parity` shows the bytes of its old client and a modern client on a free port, and exits.
//! `--listen 127.0.0.1:8889` serves until Ctrl-C, at the address that tornado-TCP's own `Client/Demo.py` calls.
//! `--call 127.0.0.1:8889` is only a client, for servers that know no ids; with `--undelimited` for one that is
//! as tornado-TCP was. `--front` puts an HTTP server before the service, which calls it once for each of its requests, and
//! prints the article's tests beside HTTP.
//!
//! | tornado-TCP | here |
//! | --- | --- |
//! | a class derived from `BaseHandler`, with `process` | an async function |
//! | what `BaseHandler` holds for all handlers | `State` |
//! | `@urls.handler(cmdid)` | `Router::route(cmdid, function)` |
//! | `request.params["content"]` | `Params<Test>`, decoded and checked before the handler starts |
//! | `request.address`, `request.timestamp` | `Context` |
//! | `self.res` | what the function returns |
//! | `Python Manage.py` | `Server::builder()`, `serve` |

mod caller;
mod clients;
mod front;
mod load;
mod service;

use std::process::ExitCode;

use caller::Replies;
use load::Length;

type Error = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str =
    "usage: tornado_parity [--listen ADDR | --call ADDR [--undelimited] | --front [--quick]]";
const EXIT_USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    let outcome = match arguments[..] {
        [] => clients::demonstrate().await,
        ["--listen", address] => service::listen(address).await,
        ["--call", address] => caller::call(address, Replies::Lines).await,
        ["--call", address, "--undelimited"] => caller::call(address, Replies::Undelimited).await,
        ["--front"] => front::compare(Length::Whole).await,
        ["--front", "--quick"] => front::compare(Length::Quick).await,
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };

    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tornado_parity: {error}");
            ExitCode::FAILURE
        }
    }
}
