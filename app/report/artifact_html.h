// artifact_html.h — one artifact of one or several models as HTML: a view for each kind. What several models have under
// one name is drawn side by side on one scale.
#pragma once

#include <string>
#include <vector>

#include "app/report/array_view.h"
#include "app/report/report_index.h"

namespace microtome::report {

// Shared by the whole page: what is needed to draw, and how much has been written.
struct RenderState {
  const ReportIndex* index = nullptr;
  std::vector<HeadRanking> heads;  // one a model
  size_t written = 0;              // bytes of figures so far; hover text is given up beyond a limit
};

// The same-named artifact of every column; null where a column has none. All non-null ones have one kind.
struct ArtifactRow {
  std::vector<const RunColumn*> columns;
  std::vector<const Artifact*> artifacts;
};
std::string artifact_html(const ArtifactRow& row, RenderState& state);

// Artifacts matched by kind and name, in order of first appearance.
std::vector<ArtifactRow> artifact_rows(const RunSet& set);

// Coloured mark and name of a model.
std::string model_mark(const ModelFacts& model);
std::string who(const RunColumn& column, const ReportIndex& index);  // <p class="who">…

std::string table_html(const Table& table, const ModelFacts* model);
// The circuit as a picture, beside it the faithfulness curves of its run (null: none), then its strongest edges.
std::string circuit_html(const Circuit& circuit, const ModelFacts* model, const std::vector<const Series*>& curves);
// A series that a circuit of its run is shown beside: its name begins with "faithfulness". x: share of edges in %, drawn on
// a logarithmic axis.
bool is_faithfulness(const Artifact& artifact);
std::string tensors_html(const ArtifactRow& row, RenderState& state);
// Summary numbers with their 95 % intervals, a column a model. Empty when no run has any.
std::string summary_html(const RunSet& set, const ReportIndex& index);

}  // namespace microtome::report
