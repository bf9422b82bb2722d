#include "app/report/markdown.h"

#include <algorithm>
#include <vector>

#include "app/report/html.h"

namespace microtome::report {
namespace {

// Inline marks over text that is escaped already: `code`, **bold**, *italics*, [text](http…).
std::string inline_marks(const std::string& s) {
  std::string out;
  for (size_t i = 0; i < s.size();) {
    if (s[i] == '`') {
      size_t end = s.find('`', i + 1);
      if (end != std::string::npos) {
        out += "<code>" + s.substr(i + 1, end - i - 1) + "</code>";
        i = end + 1;
        continue;
      }
    }
    if (s.compare(i, 2, "**") == 0) {
      size_t end = s.find("**", i + 2);
      if (end != std::string::npos && end > i + 2) {
        std::string inner = s.substr(i + 2, end - i - 2);
        out += inner.find_first_of("`[") == std::string::npos ? "<b>" + inner + "</b>" : inner;
        i = end + 2;
        continue;
      }
    }
    if (s[i] == '*' && i + 1 < s.size() && s[i + 1] != ' ' && s[i + 1] != '*') {
      size_t end = s.find('*', i + 1);
      if (end != std::string::npos && s[end - 1] != ' ') {
        std::string inner = s.substr(i + 1, end - i - 1);
        out += inner.find_first_of("`[") == std::string::npos ? "<i>" + inner + "</i>" : inner;
        i = end + 1;
        continue;
      }
    }
    if (s[i] == '[') {
      size_t close = s.find("](", i), end = close == std::string::npos ? close : s.find(')', close);
      if (end != std::string::npos) {
        std::string target = s.substr(close + 2, end - close - 2), words = s.substr(i + 1, close - i - 1);
        bool web = target.rfind("https://", 0) == 0 || target.rfind("http://", 0) == 0;
        if (web && target.find_first_of(" \n\t") == std::string::npos && words.find('[') == std::string::npos) {
          out += "<a rel=\"noopener noreferrer\" href=\"" + target + "\">" + words + "</a>";
          i = end + 1;
          continue;
        }
      }
    }
    out += s[i++];
  }
  return out;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t from = 0; from <= text.size();) {
    size_t end = std::min(text.find('\n', from), text.size());
    lines.emplace_back(text.substr(from, end - from));
    if (!lines.back().empty() && lines.back().back() == '\r') lines.back().pop_back();
    from = end + 1;
  }
  return lines;
}

// Length of "- ", "* " or "12. " at the start; 0: not a list item.
size_t item_mark(const std::string& line, bool& ordered) {
  ordered = false;
  if (line.rfind("- ", 0) == 0 || line.rfind("* ", 0) == 0) return 2;
  size_t digits = 0;
  while (digits < line.size() && digits < 4 && line[digits] >= '0' && line[digits] <= '9') ++digits;
  ordered = digits > 0 && line.compare(digits, 2, ". ") == 0;
  return ordered ? digits + 2 : 0;
}

}  // namespace

std::string markdown_to_html(std::string_view text, int top) {
  std::string out, paragraph, list;  // list: "ul", "ol" or none open
  auto end_paragraph = [&] {
    if (!paragraph.empty()) out += "<p>" + inline_marks(escape(paragraph)) + "</p>";
    paragraph.clear();
  };
  auto end_list = [&] {
    if (!list.empty()) out += "</" + list + ">";
    list.clear();
  };
  std::vector<std::string> lines = lines_of(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string line = lines[i];
    line.erase(0, std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.rfind("```", 0) == 0) {
      end_paragraph();
      end_list();
      std::string code;
      for (++i; i < lines.size() && lines[i].rfind("```", 0) != 0; ++i) code += lines[i] + "\n";
      out += "<pre><code>" + escape(code) + "</code></pre>";
      continue;
    }
    size_t hashes = std::min(line.find_first_not_of('#'), line.size());
    bool ordered = false;
    size_t mark = item_mark(line, ordered);
    if (line.empty()) {
      end_paragraph();
      end_list();
    } else if (hashes > 0 && hashes <= 6 && hashes < line.size() && line[hashes] == ' ') {
      end_paragraph();
      end_list();
      std::string h = "h" + std::to_string(std::clamp(top + static_cast<int>(hashes) - 1, 1, 6));
      out += "<" + h + ">" + inline_marks(escape(line.substr(hashes + 1))) + "</" + h + ">";
    } else if (mark > 0) {
      end_paragraph();
      std::string want = ordered ? "ol" : "ul";
      if (list != want) {
        end_list();
        out += "<" + want + ">";
        list = want;
      }
      out += "<li>" + inline_marks(escape(line.substr(mark))) + "</li>";
    } else {
      end_list();
      paragraph += (paragraph.empty() ? "" : "\n") + line;
    }
  }
  end_paragraph();
  end_list();
  return out;
}

std::string escape_markdown(std::string_view text) {
  std::string out;
  for (char c : clean_utf8(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\n':
        out += ' ';
        break;
      case '\\':
      case '`':
      case '*':
      case '_':
      case '[':
      case ']':
      case '#':
      case '|':
      case '!':
        out += '\\';
        [[fallthrough]];
      default:
        out += c;
    }
  }
  return out;
}

std::string code_span(std::string_view text) {
  // A pipe would end a table's cell even inside a code span, so both marks are shown as their look-alikes.
  std::string out = "`";
  for (char c : visible_blanks(text)) {
    if (c == '`')
      out += "\xCB\x8B";
    else if (c == '|')
      out += "\xC7\x80";
    else
      out += c;
  }
  return out == "`" ? "` `" : out + "`";
}

std::string code_block(std::string_view text) {
  std::string clean = clean_utf8(text);
  size_t longest = 0, run = 0;
  for (char c : clean) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  std::string fence(std::max<size_t>(3, longest + 1), '`');
  return fence + "\n" + clean + "\n" + fence + "\n";
}

}  // namespace microtome::report
