#include "core/io/look_alikes.h"

#include "core/base/status.h"

namespace microtome {

void refuse_look_alikes(std::string_view bytes, const std::string& expected, const std::string& where) {
  const auto refuse = [&](const std::string& what, const std::string& todo) {
    throw Error(StatusCode::kBadInput, "the file is " + what, where, todo);
  };
  const std::string_view head = bytes.substr(0, 512);
  if (head.starts_with("version https://git-lfs"))
    refuse("a git-LFS pointer, not the weights themselves", "fetch the file with 'git lfs pull'");
  std::string lower;
  for (const char c : head.substr(std::min(head.size(), head.find_first_not_of(" \t\r\n"))))
    lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  if (lower.starts_with("<!doctype html") || lower.starts_with("<html") || lower.starts_with("<?xml"))
    refuse("an HTML page, not " + expected, "download the file again; a login or error page was saved");
  if (head.starts_with("GGUF")) refuse("GGUF, not " + expected, "use the model's safetensors files");
}

}  // namespace microtome
