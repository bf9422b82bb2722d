#include "core/hooks/hook_point.h"

#include <algorithm>
#include <numeric>

#include "core/base/status.h"

namespace microtome {
namespace {

// '*' stops at a dot unless across_parts; '?' is one character.
bool glob_match(std::string_view pattern, std::string_view text, bool across_parts) {
  // Iterative with one backtrack point: linear in practice, never exponential.
  size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) &&
               !(pattern[p] == '?' && text[t] == '.')) {
      ++p, ++t;
    } else if (star != std::string_view::npos && (across_parts || text[mark] != '.')) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// "blocks.{0,3}.x" → both spellings. Bounded: at most 4096 results.
std::vector<std::string> expand_braces(const std::string& pattern) {
  size_t open = pattern.find('{');
  if (open == std::string::npos) return {pattern};
  size_t close = pattern.find('}', open);
  if (close == std::string::npos)
    throw Error(StatusCode::kBadInput, "hook pattern '" + pattern + "' has '{' without '}'", "", "write {0,3}");
  std::vector<std::string> out;
  size_t begin = open + 1;
  while (begin <= close) {
    size_t end = std::min(pattern.find(',', begin), close);
    for (std::string& rest : expand_braces(pattern.substr(close + 1))) {
      out.push_back(pattern.substr(0, open) + pattern.substr(begin, end - begin) + rest);
      if (out.size() > 4096) throw Error(StatusCode::kBadInput, "hook pattern '" + pattern + "' is too wide");
    }
    begin = end + 1;
  }
  return out;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t up = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = up;
    }
  }
  return row[b.size()];
}

void replace_suffix(std::string& s, std::string_view from, std::string_view to) {
  if (s.size() >= from.size() && std::string_view(s).substr(s.size() - from.size()) == from)
    s.replace(s.size() - from.size(), from.size(), to);
}

}  // namespace

void HookCatalogue::add(HookPoint p) {
  if (!index_.emplace(p.name, points_.size()).second)
    throw Error(StatusCode::kInternal, "hook point '" + p.name + "' is listed twice");
  points_.push_back(std::move(p));
}

std::string HookCatalogue::canonical(std::string name) {
  if (name == "embed.hook_out") return "hook_embed";
  replace_suffix(name, "unembed.hook_logits", "unembed.hook_out");
  if (name.rfind("blocks.", 0) == 0) {
    if (size_t m = name.find(".mixer."); m != std::string::npos) name.replace(m, 7, ".attn.");
    size_t second = name.find('.', 7);
    // "blocks.3.hook_in": the alias is the block's own point, not "mlp.hook_in".
    if (second != std::string::npos) {
      if (std::string_view(name).substr(second) == ".hook_in") name.replace(second, std::string::npos, ".hook_resid_pre");
      if (std::string_view(name).substr(second) == ".hook_out") name.replace(second, std::string::npos, ".hook_resid_post");
    }
  }
  replace_suffix(name, ".hook_ssm_state", ".hook_state");
  replace_suffix(name, ".hook_ssm_write", ".hook_state_write");
  replace_suffix(name, ".hook_log_decay", ".hook_decay");
  return name;
}

const HookPoint* HookCatalogue::find(std::string_view name) const {
  auto it = index_.find(name);
  if (it == index_.end()) it = index_.find(canonical(std::string(name)));
  return it == index_.end() ? nullptr : &points_[it->second];
}

std::vector<std::string> HookCatalogue::match(const std::string& pattern) const {
  std::vector<std::string> out;
  for (const std::string& raw : expand_braces(pattern)) {
    std::string p = canonical(raw);
    if (p.find_first_of("*?") == std::string::npos) {
      if (const HookPoint* exact = find(p)) {
        if (std::find(out.begin(), out.end(), exact->name) == out.end()) out.push_back(exact->name);
        continue;
      }
    }
    bool across = p.find('.') == std::string::npos;
    size_t last_dot = p.rfind('.');
    bool wild_tail = p.find_first_of("*?", last_dot == std::string::npos ? 0 : last_dot) != std::string::npos;
    size_t before = out.size();
    for (const HookPoint& point : points_) {
      // Expensive points come only when the last part of the name is spelled out.
      if (point.on_request && wild_tail) continue;
      if (glob_match(p, point.name, across) && std::find(out.begin(), out.end(), point.name) == out.end())
        out.push_back(point.name);
    }
    if (out.size() == before && std::none_of(points_.begin(), points_.end(), [&](const HookPoint& point) {
          return glob_match(p, point.name, across);
        })) {
      std::string near;
      for (const std::string& n : nearest(p)) near += (near.empty() ? "" : ", ") + n;
      throw Error(StatusCode::kNotFound, "no hook point matches '" + raw + "'", "hook",
                  "the nearest are " + near + "; `microtome inspect MODEL` lists all");
    }
  }
  return out;
}

std::vector<std::string> HookCatalogue::nearest(const std::string& name, size_t count) const {
  std::vector<std::pair<size_t, std::string>> scored;
  std::string_view bounded = std::string_view(name).substr(0, 200);
  for (const HookPoint& p : points_) scored.emplace_back(edit_distance(bounded, p.name), p.name);
  std::stable_sort(scored.begin(), scored.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> out;
  for (size_t i = 0; i < std::min(count, scored.size()); ++i) out.push_back(scored[i].second);
  return out;
}

}  // namespace microtome
