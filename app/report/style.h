// style.h — the page's one style sheet and its one script (sorting and filtering of tables). Both are ours and inline.
#pragma once

#include <string>

namespace microtome::report {

std::string style_sheet();
const std::string& script();
// The script's "sha256-…" for the Content-Security-Policy, so that no other script may run.
std::string script_hash();
// From <!DOCTYPE html> to <body>: title, policy, style sheet.
std::string page_head(const std::string& title);

}  // namespace microtome::report
