// Pictures that the app drew, in the page and in Markdown.
#include "app/report/html.h"
#include "app/report/sections.h"

namespace microtome::report {
namespace {

std::string base64(const std::string& bytes) {
  static const char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t v = 0;
    for (size_t k = 0; k < 3; ++k) v = v << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : kDigits[v >> (18 - 6 * k) & 63];
  }
  return out;
}

}  // namespace

std::string pictures_section(const std::vector<ReportPicture>& pictures) {
  if (pictures.empty()) return {};
  std::string body;
  for (const ReportPicture& p : pictures) {
    body += "<figure><img alt=\"" + escape(shorten(p.title, 200)) + "\" style=\"max-width:100%\" src=\"data:image/svg+xml;base64," + base64(p.svg) +
            "\"><figcaption>" + escape(shorten(p.title, 200)) + "</figcaption>";
    if (!p.note.empty()) body += "<p class=\"note\">" + escape(shorten(p.note, 2000)) + "</p>";
    if (!p.command.empty()) body += "<pre><code>" + escape(shorten(p.command, 4000)) + "</code></pre>";
    body += "</figure>";
  }
  return section("pictures", "Pictures", body) + "\n";
}

}  // namespace microtome::report
