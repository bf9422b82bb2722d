#include "app/desktop/views/feature_search.h"

#include <algorithm>
#include <map>
#include <unordered_set>

namespace microtome::desktop {
namespace {

using Ids = std::unordered_set<int64_t>;
using Bound = FeatureQuery::Bound;

std::string small(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::string trimmed(const std::string& text) {
  const size_t from = text.find_first_not_of(" \t\r\n");
  return from == std::string::npos ? std::string() : text.substr(from, text.find_last_not_of(" \t\r\n") - from + 1);
}

int64_t strongestOf(const FeatureSet::Example& e) {
  return e.strongest >= 0 && e.strongest < static_cast<int64_t>(e.ids.size()) ? e.ids[static_cast<size_t>(e.strongest)] : -1;
}

bool within(const FeatureSet::Feature& f, const Bound& b) {
  const double have = b.field == FeatureQuery::Field::kIndex     ? static_cast<double>(f.index)
                      : b.field == FeatureQuery::Field::kDensity ? f.density
                      : b.field == FeatureQuery::Field::kMax     ? f.max
                                                                 : f.mean;
  switch (b.compare) {
    case FeatureQuery::Compare::kLess: return have < b.value;
    case FeatureQuery::Compare::kLessEqual: return have <= b.value;
    case FeatureQuery::Compare::kMore: return have > b.value;
    case FeatureQuery::Compare::kMoreEqual: return have >= b.value;
    default: return have == b.value;
  }
}

}  // namespace

std::vector<int> findFeatures(const FeatureSet& set, const FeatureQuery& query) {
  std::vector<Ids> tokens;
  for (const FeatureQuery::Token& t : query.tokens) {
    Ids ids;
    const std::string wanted = t.exact ? t.text : small(trimmed(t.text));
    for (const auto& [id, text] : set.token_texts)
      if ((t.exact ? text : small(trimmed(text))) == wanted) ids.insert(id);
    tokens.push_back(std::move(ids));
  }
  const auto textOf = [&](const FeatureSet::Example& e) {
    std::string out;
    for (int64_t id : e.ids)
      if (const auto at = set.token_texts.find(id); at != set.token_texts.end()) out += at->second;
    return small(std::move(out));
  };
  std::vector<int> out;
  for (size_t i = 0; i < set.features.size(); ++i) {
    const FeatureSet::Feature& f = set.features[i];
    bool all = std::all_of(query.bounds.begin(), query.bounds.end(), [&](const Bound& b) { return within(f, b); });
    const std::string label = all && !(query.texts.empty() && query.labels.empty()) ? small(f.label) : std::string();
    for (const std::string& l : query.labels) all = all && (l.empty() ? !label.empty() : label.find(small(l)) != std::string::npos);
    for (const Ids& ids : tokens)
      all = all && std::any_of(f.examples.begin(), f.examples.end(), [&](const FeatureSet::Example& e) { return ids.count(strongestOf(e)) > 0; });
    if (all && !query.texts.empty()) {
      std::vector<std::string> texts = {label};
      for (const FeatureSet::Example& e : f.examples) texts.push_back(textOf(e));
      for (const std::string& word : query.texts) {
        const std::string wanted = small(word);
        all = all && std::any_of(texts.begin(), texts.end(), [&](const std::string& t) { return t.find(wanted) != std::string::npos; });
      }
    }
    if (all) out.push_back(static_cast<int>(i));
  }
  return out;
}

QString tokenTextOf(const FeatureSet& set, int64_t id) {
  const auto at = set.token_texts.find(id);
  return at == set.token_texts.end() ? QStringLiteral("#%1").arg(id) : QString::fromStdString(at->second);
}

QStringList strongestTokens(const FeatureSet& set, const FeatureSet::Feature& f, int most) {
  std::map<int64_t, int> count;
  std::vector<int64_t> order;
  for (const FeatureSet::Example& e : f.examples) {
    const int64_t id = strongestOf(e);
    if (id >= 0 && count[id]++ == 0) order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return count[a] > count[b]; });
  QStringList out;
  for (size_t i = 0; i < order.size() && out.size() < most; ++i) out << tokenTextOf(set, order[i]);
  return out;
}

}  // namespace microtome::desktop
