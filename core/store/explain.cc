#include "core/store/explain.h"

#include <algorithm>
#include <map>

#include "core/base/quote.h"

namespace microtome {

namespace {

std::string meaning_of(const std::string& tag) {
  static const std::map<std::string, std::string> kMeanings = {
      {"analysis", "which analysis ran"},
      {"analysis_version", "version of the analysis; it rises when the same parameters give other numbers"},
      {"weights", "SHA-256 over the model's tensors and configuration"},
      {"tokenizer", "SHA-256 of the tokenizer's files"},
      {"dataset", "SHA-256 over the prompts"},
      {"form", "form in which token mixers ran (auto, naive, chunk, recurrent)"},
      {"dtype", "number format of the model's computation"},
      {"tf32", "whether matrix products were allowed to round their inputs to TF32"},
      {"bos", "whether a start token was put in front of text (auto, on, off)"},
      {"seed", "seed of everything random; item seeds derive from it"},
      {"interventions", "interventions that held during the whole run, as JSON"},
      {"plugin", "SHA-256 of the plug-in that brought the analysis; empty: built in"},
  };
  if (tag.compare(0, 6, "param.") == 0) return "parameter of the analysis that affects the answer";
  auto it = kMeanings.find(tag);
  return it == kMeanings.end() ? "a field that this version of the program does not know" : it->second;
}

// Control characters and broken UTF-8 out; whole otherwise, since this is where people look for the difference.
std::string for_terminal(const std::string& text) {
  std::string quoted = in_quotes(text, text.size() * 4 + 16);
  return quoted.size() >= 2 ? quoted.substr(1, quoted.size() - 2) : quoted;
}

std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

}  // namespace

std::string explain_key(const RunRecord& run) {
  constexpr size_t kMaxColumn = 44;
  const auto fields = parse_key_text(run.key_text);
  size_t tag_width = 0, value_width = 0;
  for (const auto& [tag, value] : fields) {
    tag_width = std::max(tag_width, for_terminal(tag).size());
    value_width = std::max(value_width, std::min(for_terminal(value).size(), kMaxColumn));
  }
  std::string out = "run " + std::to_string(run.id) + ": " + for_terminal(run.analysis) + "\nkey " +
                    for_terminal(run.key_hash) + "\n\nThe key is the SHA-256 of these fields:\n";
  for (const auto& [tag, value] : fields) {
    out += "  " + padded(for_terminal(tag), tag_width) + "  " + padded(for_terminal(value), value_width) + "  " +
           meaning_of(tag) + "\n";
  }
  out += "\nNot part of the key:\n";
  auto line = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) out += "  " + padded(name, tag_width) + "  " + for_terminal(value) + "\n";
  };
  line("model", run.spec.model_name);
  line("model path", run.spec.model_path);
  line("dataset", run.spec.dataset_name);
  line("device", run.spec.device);
  for (const auto& [name, value] : run.spec.cost_params) line(for_terminal(name), value);
  line("created", run.created);
  line("command", run.command);
  return out;
}

std::vector<KeyDifference> diff_keys(const RunRecord& a, const RunRecord& b) {
  const auto of_a = parse_key_text(a.key_text), of_b = parse_key_text(b.key_text);
  const std::map<std::string, std::string> in_a(of_a.begin(), of_a.end()), in_b(of_b.begin(), of_b.end());
  std::vector<KeyDifference> out;
  for (const auto& [tag, value] : of_a) {
    auto other = in_b.find(tag);
    std::string text = other == in_b.end() ? kAbsentField : other->second;
    if (other == in_b.end() || value != text) out.push_back({tag, value, text, meaning_of(tag)});
  }
  for (const auto& [tag, value] : of_b) {
    if (in_a.count(tag) == 0) out.push_back({tag, kAbsentField, value, meaning_of(tag)});
  }
  return out;
}

}  // namespace microtome
