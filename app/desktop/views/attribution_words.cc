// What an attribution graph, a node or an edge of it is, in words beside the canvas.
#include <QTextBrowser>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/attribution_view.h"
#include "app/desktop/views/graph_state.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

using Kind = AttributionGraph::Kind;
constexpr size_t kListed = 12;

QString row(const QString& left, const QString& right) {
  return QStringLiteral("<tr><td>%1</td><td align=\"right\">&nbsp;&nbsp;%2</td></tr>").arg(left, right);
}

QString table(const QString& rows) { return QStringLiteral("<table width=\"100%\" cellspacing=\"0\" cellpadding=\"2\">%1</table>").arg(rows); }

QString tokensHtml(const QStringList& tokens) {
  QStringList out;
  for (const QString& t : tokens) out << QStringLiteral("<code>%1</code>").arg(visibleToken(t).left(24).toHtmlEscaped());
  return out.join(QStringLiteral(" "));
}

}  // namespace

void AttributionView::describe() {
  const QString html = !graph_        ? QString()
                       : edge_ >= 0   ? edgeHtml(edge_)
                       : node_ >= 0   ? nodeHtml(node_)
                                      : graphHtml();
  words_->setHtml(html);
}

QString AttributionView::linkTo(int node) const {
  const AttributionGraph::Node& n = graph_->nodes[static_cast<size_t>(node)];
  QString text = attributionName(*graph_, node);
  if (n.kind == Kind::kFeature) {
    if (const auto known = notes_.find({n.layer, n.feature}); known != notes_.end() && !known->second.label.isEmpty())
      text += QStringLiteral(" · ") + known->second.label;
    else if (const qsizetype arrow = QString::fromStdString(n.label).indexOf(QChar(0x2192)); arrow >= 0) text += QLatin1Char(' ') + labelText(n.label, 90).mid(arrow, 40);
  }
  return QStringLiteral("<a href=\"node:%1\">%2</a>").arg(node).arg(text.left(90).toHtmlEscaped());
}

QString AttributionView::graphHtml() const {
  const AttributionGraph& g = *graph_;
  QString out = QStringLiteral("<h3>%1</h3>").arg((g.title.empty() ? nameText(g.name) : labelText(g.title)).toHtmlEscaped());
  QString rows;
  rows += row(tr("nodes kept"), tr("%1 of %2").arg(countedText(cut_.node_count), countedText(static_cast<qint64>(g.nodes.size()))));
  rows += row(tr("edges kept"), tr("%1 of %2").arg(countedText(cut_.edge_count), countedText(static_cast<qint64>(g.edges.size()))));
  rows += row(tr("replacement score"), numberText(g.replacement_score, 3));
  rows += row(tr("completeness score"), numberText(g.completeness_score, 3));
  if (!g.dictionary.empty()) rows += row(tr("transcoders"), labelText(g.dictionary, 40).toHtmlEscaped());
  out += table(rows);
  out += QStringLiteral("<p><font color=\"%1\">%2</font></p>")
             .arg(Theme::of(this).muted.name(), tr("Replacement score: share of the influence on the logits that comes from tokens through features and not "
                                                   "through errors. Completeness score: share of what reaches the nodes that is not from errors.").toHtmlEscaped());
  std::vector<int> best;
  for (int i : picture_.nodes)
    if (g.nodes[static_cast<size_t>(i)].kind == Kind::kFeature) best.push_back(i);
  std::sort(best.begin(), best.end(), [&](int a, int b) { return g.nodes[static_cast<size_t>(a)].influence > g.nodes[static_cast<size_t>(b)].influence; });
  if (best.size() > kListed) best.resize(kListed);
  rows.clear();
  for (int i : best) rows += row(linkTo(i), numberText(g.nodes[static_cast<size_t>(i)].influence, 3));
  if (!best.empty()) out += QStringLiteral("<h4>%1</h4>").arg(tr("Most influential features")) + table(rows);
  return out;
}

QString AttributionView::nodeHtml(int node) const {
  const AttributionGraph& g = *graph_;
  const AttributionGraph::Node& n = g.nodes[static_cast<size_t>(node)];
  QString out = QStringLiteral("<h3>%1</h3>").arg(attributionName(g, node).toHtmlEscaped());
  const auto known = n.kind == Kind::kFeature ? notes_.find({n.layer, n.feature}) : notes_.end();
  if (known != notes_.end() && !known->second.label.isEmpty()) out += QStringLiteral("<p><b>%1</b></p>").arg(known->second.label.toHtmlEscaped());
  if (!n.label.empty() && n.kind == Kind::kFeature) out += QStringLiteral("<p>%1</p>").arg(labelText(n.label, 200).toHtmlEscaped());
  QString rows;
  if (n.kind == Kind::kLogit) rows += row(tr("probability"), numberText(n.activation, 3));
  if (n.kind == Kind::kFeature) rows += row(tr("activation"), numberText(n.activation, 3));
  if (n.kind != Kind::kLogit) rows += row(tr("influence on the logits"), numberText(n.influence, 3));
  const QString token = attributionToken(g, n.position);
  if (!token.isEmpty()) rows += row(tr("at token %1").arg(n.position), QStringLiteral("<code>%1</code>").arg(visibleToken(token).left(40).toHtmlEscaped()));
  out += table(rows);
  if (known != notes_.end() && !known->second.tokens.isEmpty()) out += QStringLiteral("<p>%1 %2</p>").arg(tr("fires on"), tokensHtml(known->second.tokens));
  if (known != notes_.end()) out += QStringLiteral("<p><a href=\"feature:%1:%2\">%3</a></p>").arg(n.layer).arg(n.feature).arg(tr("Open its dashboard"));
  // What leads to it and where it leads, the strongest of the edges that are kept.
  for (const bool in : {true, false}) {
    std::vector<int> edges;
    for (size_t e = 0; e < g.edges.size(); ++e)
      if (cut_.edges[e] && (in ? g.edges[e].to : g.edges[e].from) == node) edges.push_back(static_cast<int>(e));
    if (edges.empty()) continue;
    std::sort(edges.begin(), edges.end(), [&](int a, int b) { return std::abs(g.edges[static_cast<size_t>(a)].weight) > std::abs(g.edges[static_cast<size_t>(b)].weight); });
    const size_t all = edges.size();
    if (edges.size() > kListed) edges.resize(kListed);
    rows.clear();
    for (int e : edges) {
      const AttributionGraph::Edge& edge = g.edges[static_cast<size_t>(e)];
      rows += row(linkTo(static_cast<int>(in ? edge.from : edge.to)), QStringLiteral("<a href=\"edge:%1\">%2</a>").arg(e).arg(numberText(edge.weight, 3)));
    }
    out += QStringLiteral("<h4>%1</h4>").arg((in ? tr("From") : tr("To")) + (all > edges.size() ? tr(", %1 of %2").arg(edges.size()).arg(all) : QString())) + table(rows);
  }
  return out;
}

QString AttributionView::edgeHtml(int edge) const {
  const AttributionGraph::Edge& e = graph_->edges[static_cast<size_t>(edge)];
  QString out = QStringLiteral("<h3>%1</h3>").arg(tr("Edge"));
  out += table(row(tr("from"), linkTo(static_cast<int>(e.from))) + row(tr("to"), linkTo(static_cast<int>(e.to))) + row(tr("weight"), numberText(e.weight, 4)));
  double all = 0;
  for (const AttributionGraph::Edge& other : graph_->edges)
    if (other.to == e.to && std::isfinite(other.weight)) all += std::abs(other.weight);
  if (all > 0) out += QStringLiteral("<p>%1</p>").arg(tr("%1 % of what reaches it, by size.").arg(numberText(100 * std::abs(e.weight) / all, 3)));
  if (!edgeNote_.isEmpty()) out += QStringLiteral("<p><b>%1</b></p>").arg(edgeNote_.toHtmlEscaped());
  return out;
}

}  // namespace microtome::desktop
