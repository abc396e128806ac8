//! A page of a service, beside those about the server.

use std::io;

use rpc_core::CmdId;

/// A page of a service beside those about the server: files that do not change, and the commands that
/// its script may call.
///
/// It is shown where the pages about the server are shown. Its script makes a call by a `POST` of the
/// params to `/CMDID`, under the grants and limits of every call. If the listener's `http_calls` is
/// off, the script may call only the commands named by [`calls`](Self::calls) without a token, so name
/// only commands that change nothing; every other command needs a token.
///
/// Its content security policy allows its own files only: no inline script, and nothing from elsewhere.
///
/// It may load what the status page loads: `/status.css` and `/favicon.svg`, to look like it, and
/// `/page.js`, whose functions put texts, numbers, times, tables and drawings into a page. That script
/// comes first, as in `<script src="/page.js" defer></script>`.
///
/// ```
/// use rpc_server::{AdminConfig, AdminPage, CmdId, Server};
///
/// let page = AdminPage::new("/orders", "Orders", "<!doctype html><script src=\"/orders.js\"></script>")
///     .file("/orders.js", "text/javascript; charset=utf-8", "\"use strict\";")
///     .calls([CmdId::new(2003)]);
/// let builder = Server::builder().admin(AdminConfig::default()).admin_page(page);
/// # let _ = builder;
/// ```
#[derive(Debug, Clone)]
pub struct AdminPage {
    path: &'static str,
    title: &'static str,
    files: Vec<PageFile>,
    calls: Vec<CmdId>,
}

/// A file of a page, as it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageFile {
    path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) text: &'static str,
}

impl AdminPage {
    /// A page of HTML at this path, which begins with `/`. The status page links to it by the title.
    pub fn new(path: &'static str, title: &'static str, html: &'static str) -> Self {
        let page = Self {
            path,
            title,
            files: Vec::new(),
            calls: Vec::new(),
        };
        page.file(path, super::pages::HTML, html)
    }

    /// Adds a file that the page loads: its path, its `Content-Type` and its text.
    #[must_use]
    pub fn file(
        mut self,
        path: &'static str,
        content_type: &'static str,
        text: &'static str,
    ) -> Self {
        self.files.push(PageFile {
            path,
            content_type,
            text,
        });
        self
    }

    /// Names commands that the page calls; nothing of them may change anything.
    #[must_use]
    pub fn calls(mut self, commands: impl IntoIterator<Item = CmdId>) -> Self {
        self.calls.extend(commands);
        self
    }

    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    pub(super) fn title(&self) -> &'static str {
        self.title
    }

    pub(super) fn may_call(&self, command: CmdId) -> bool {
        self.calls.contains(&command)
    }

    pub(super) fn file_at(&self, path: &str) -> Option<&PageFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// Checks that each path begins with `/` and has one file.
///
/// # Errors
/// The path that cannot be, and the page it belongs to.
pub(crate) fn check(pages: &[AdminPage]) -> io::Result<()> {
    let mut known: Vec<&str> = super::pages::PATHS.to_vec();
    for page in pages {
        for file in &page.files {
            let what = match file.path {
                path if !path.starts_with('/') => "does not begin with `/`",
                path if known.contains(&path) => "belongs to another page or file",
                path => {
                    known.push(path);
                    continue;
                }
            };

            let message = format!("the page {}: the path \"{}\" {what}", page.title, file.path);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_begins_with_a_slash_and_has_one_file() {
        let page = |path| AdminPage::new(path, "Orders", "<!doctype html>");
        assert!(check(&[page("/orders"), page("/others")]).is_ok());

        let refused = |pages: &[AdminPage]| check(pages).unwrap_err().to_string();
        assert_eq!(
            refused(&[page("orders")]),
            "the page Orders: the path \"orders\" does not begin with `/`"
        );
        for path in ["/orders", "/metrics", "/"] {
            let pages = [page("/orders"), page("/other").file(path, "text/css", "")];
            let message = format!("the path \"{path}\" belongs to another page or file");
            assert!(refused(&pages).ends_with(&message), "{}", refused(&pages));
        }
    }
}
