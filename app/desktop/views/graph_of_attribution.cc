#include "app/desktop/views/graph_of_attribution.h"

#include <QCoreApplication>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"
#include "app/layout/attribution_layout.h"

namespace microtome::desktop {
namespace {

using Kind = AttributionGraph::Kind;

QString tr(const char* text) { return QCoreApplication::translate("AttributionGraph", text); }

QString tokenText(const QString& token) { return plainLine(visibleToken(token), 40); }

// Labels of logits are kept as viewers of such graphs read them: "token" (p=0.123), in quotes.
QString logitText(const AttributionGraph::Node& n) {
  const QString label = QString::fromStdString(n.label);
  if (label.isEmpty()) return QStringLiteral("#%1").arg(n.feature);
  const qsizetype end = label.lastIndexOf(QStringLiteral("\" (p="));
  return label.startsWith(QLatin1Char('"')) && end > 0 ? tokenText(label.mid(1, end - 1)) : plainLine(label, 40);
}

// What stands in the node.
QString shortLabel(const AttributionGraph& graph, const AttributionGraph::Node& n, const FeatureNote* note) {
  switch (n.kind) {
    case Kind::kToken: return tokenText(attributionToken(graph, n.position));
    case Kind::kError: return tr("error");
    case Kind::kLogit: return logitText(n);
    default: return note && !note->label.isEmpty() ? note->label.left(40) : QString::number(n.feature);
  }
}

}  // namespace

QString attributionToken(const AttributionGraph& graph, int64_t position) {
  if (position >= 0 && position < static_cast<int64_t>(graph.tokens.size())) return QString::fromStdString(graph.tokens[static_cast<size_t>(position)]);
  if (position >= 0 && position < static_cast<int64_t>(graph.token_ids.size())) return QStringLiteral("#%1").arg(graph.token_ids[static_cast<size_t>(position)]);
  return {};
}

QString attributionName(const AttributionGraph& graph, int node) {
  const AttributionGraph::Node& n = graph.nodes[static_cast<size_t>(node)];
  switch (n.kind) {
    case Kind::kToken: return tr("token %1 “%2”").arg(n.position).arg(tokenText(attributionToken(graph, n.position)));
    case Kind::kError: return tr("L%1 error at %2").arg(n.layer).arg(n.position);
    case Kind::kLogit: return tr("logit %1 “%2”").arg(n.feature).arg(logitText(n));
    default: return tr("L%1 feature %2 at %3").arg(n.layer).arg(n.feature).arg(n.position);
  }
}

AttributionPicture pictureOf(const AttributionGraph& graph, const std::vector<char>& nodes, const std::vector<char>& edges,
                             const std::vector<LayerKind>& layers, const FeatureNotes& notes) {
  AttributionPicture out;
  out.shown.assign(graph.nodes.size(), -1);
  std::vector<layout::Point> half(graph.nodes.size());
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!nodes[i]) continue;
    const AttributionGraph::Node& n = graph.nodes[i];
    const auto known = n.kind == Kind::kFeature ? notes.find({n.layer, n.feature}) : notes.end();
    const FeatureNote* note = known == notes.end() ? nullptr : &known->second;
    GraphNode node;
    node.name = attributionName(graph, static_cast<int>(i));
    node.label = shortLabel(graph, n, note);
    node.box = n.kind != Kind::kFeature || (note && !note->label.isEmpty());
    node.score = n.influence;
    if (n.kind == Kind::kFeature && n.layer >= 0 && n.layer < static_cast<int64_t>(layers.size())) node.kind = layers[static_cast<size_t>(n.layer)];
    const QSizeF size = nodeHalfSize(node);
    half[i] = {size.width(), size.height()};
    out.shown[i] = static_cast<int>(out.nodes.size());
    out.nodes.push_back(static_cast<int>(i));
    out.data.nodes.push_back(std::move(node));
  }
  for (size_t e = 0; e < graph.edges.size(); ++e) {
    const AttributionGraph::Edge& edge = graph.edges[e];
    const auto count = static_cast<int64_t>(graph.nodes.size());
    if (edge.from < 0 || edge.to < 0 || edge.from >= count || edge.to >= count) continue;
    const int from = out.shown[static_cast<size_t>(edge.from)], to = out.shown[static_cast<size_t>(edge.to)];
    if (from < 0 || to < 0) continue;
    out.data.edges.push_back({from, to, {}, edge.weight, edges[e] ? 1.0 : 0.0});
    out.edges.push_back(static_cast<int>(e));
  }
  const layout::AttributionPlacement placed = layout::place_attribution(graph, nodes, half);
  for (int i : out.nodes) {
    const layout::Point& c = placed.centres[static_cast<size_t>(i)];
    out.data.places.emplace_back(c.x, c.y);
    out.data.nodes[static_cast<size_t>(out.shown[static_cast<size_t>(i)])].rank = placed.ranks[static_cast<size_t>(i)];
  }
  for (const layout::RankRow& r : placed.rows) {
    out.data.rows.push_back({r.rank, r.y, r.top, r.bottom});
    out.data.rankNames[r.rank] = r.rank == 0 ? tr("text") : r.rank > graph.n_layers ? tr("logits") : QStringLiteral("L%1").arg(r.rank - 1);
  }
  out.data.grid = true;
  out.data.scoreLabel = tr("weight");
  out.data.nodeScoreLabel = tr("influence");
  out.data.help = tr("Edges: what a node adds to the pre-activation of another (or to a logit), in the model whose MLPs are replaced by transcoders and whose attention "
                     "and norms are frozen. Width: size, colour: sign.");
  return out;
}

}  // namespace microtome::desktop
