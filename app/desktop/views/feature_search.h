// feature_search.h — finds features of a set that is in memory by the query language of the store (core/store/feature_query.h):
// the same words find the same features there and here.
#pragma once

#include <QString>
#include <QStringList>
#include <vector>

#include "core/base/feature_set.h"
#include "core/store/feature_query.h"

namespace microtome::desktop {

// Rows of set.features that the query finds, in their order; its sort, limit and offset are not looked at.
std::vector<int> findFeatures(const FeatureSet& set, const FeatureQuery& query);

// The texts of the tokens that a feature fires most strongly on, the most frequent first, each once.
QStringList strongestTokens(const FeatureSet& set, const FeatureSet::Feature& f, int most);
// "#12" where the set has no text for the id.
QString tokenTextOf(const FeatureSet& set, int64_t id);

}  // namespace microtome::desktop
