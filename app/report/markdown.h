// markdown.h — a small safe subset of Markdown as HTML: headings, lists, bold, italics, code, fenced code, links to
// http(s). Everything is escaped first; nothing of the text can become a tag of its own.
#pragma once

#include <string>
#include <string_view>

namespace microtome::report {

// Headings start at <h`top`> (1…6).
std::string markdown_to_html(std::string_view text, int top = 4);

// The other way: text for Markdown files, with marks, tags and pipes made inert.
std::string escape_markdown(std::string_view text);
// A code span that no run of backticks inside can end; one line.
std::string code_span(std::string_view text);
std::string code_block(std::string_view text);

}  // namespace microtome::report
