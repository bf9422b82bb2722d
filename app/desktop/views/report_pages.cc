#include "app/desktop/views/report_pages.h"

#include <QAbstractTextDocumentLayout>
#include <QBuffer>
#include <QDir>
#include <QPageSize>
#include <QPdfWriter>
#include <QSaveFile>
#include <QTextBlock>
#include <QTextDocument>
#include <QTextLayout>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/view.h"

namespace microtome::desktop {
namespace {

constexpr double kInner = ReportPages::kWidth - 2 * ReportPages::kMargin;
constexpr double kRoom = ReportPages::kHeight - 2 * ReportPages::kMargin;
constexpr int kMostText = 64000;

// Paper is light whatever the window is.
const Theme& paper() { return Theme::light(); }

QFont paperFont(double points, bool bold = false) {
  QFont f = QApplication::font();
  f.setPointSizeF(points);
  f.setBold(bold);
  return f;
}

QString cellText(const Cell& cell) {
  if (const auto* i = std::get_if<int64_t>(&cell)) return QString::number(*i);
  if (const auto* d = std::get_if<double>(&cell)) return numberText(*d);
  if (const auto* s = std::get_if<std::string>(&cell)) return QString::fromStdString(*s).left(80);
  return QStringLiteral("–");
}

// Bottoms of the lines of a document: where it may be cut.
std::vector<double> lineEnds(const QTextDocument& document) {
  std::vector<double> out;
  for (QTextBlock block = document.begin(); block.isValid(); block = block.next()) {
    const QRectF box = document.documentLayout()->blockBoundingRect(block);
    const QTextLayout* layout = block.layout();
    for (int i = 0; i < layout->lineCount(); ++i) out.push_back(box.top() + layout->lineAt(i).rect().bottom());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

ReportPages::ReportPages() = default;

void ReportPages::text(QTextDocument& document, bool keepWithNext, double indent) {
  document.setDocumentMargin(0);
  document.setTextWidth(kInner - indent);
  const double whole = document.size().height();
  const std::vector<double> ends = lineEnds(document);
  double from = 0;
  while (from < whole - 0.5) {
    double to = whole;
    if (to - from > kRoom) {
      // A text longer than a page is cut between lines.
      to = from + kRoom;
      const auto next = std::upper_bound(ends.begin(), ends.end(), to + 0.01);
      if (next != ends.begin() && *std::prev(next) > from) to = *std::prev(next);
    }
    Piece piece;
    piece.height = to - from;
    piece.keepWithNext = keepWithNext;
    QPainter p(&piece.drawing);
    p.translate(indent, -from);
    QAbstractTextDocumentLayout::PaintContext context;
    context.palette = paper().palette();
    context.clip = QRectF(0, from, kInner, to - from);
    p.setClipRect(context.clip);
    document.documentLayout()->draw(&p, context);
    p.end();
    pieces_.push_back(std::move(piece));
    from = to;
  }
}

void ReportPages::gap(double height) {
  Piece piece;
  piece.height = height;
  piece.keepWithNext = true;
  pieces_.push_back(std::move(piece));
}

void ReportPages::heading(const QString& words, int level) {
  if (!pieces_.empty()) gap(level == 1 ? 24 : level == 2 ? 24 : 12);
  QTextDocument d;
  d.setDefaultFont(paperFont(level == 1 ? 20 : level == 2 ? 14 : 11, true));
  d.setPlainText(words.left(300));
  text(d, true);
  gap(level == 3 ? 4 : 8);
}

void ReportPages::paragraph(const QString& words, bool muted) {
  if (words.isEmpty()) return;
  QTextDocument d;
  d.setDefaultFont(paperFont(muted ? 8.5 : 10));
  d.setPlainText(words.left(kMostText));
  if (muted) {
    QTextCursor all(&d);
    all.select(QTextCursor::Document);
    QTextCharFormat grey;
    grey.setForeground(paper().muted);
    all.mergeCharFormat(grey);
  }
  text(d, false);
  gap(6);
}

void ReportPages::bullets(const QStringList& lines) {
  for (const QString& line : lines) {
    QTextDocument d;
    d.setDefaultFont(paperFont(10));
    d.setPlainText(line.left(kMostText));
    const size_t first = pieces_.size();
    text(d, false, 14);
    if (first < pieces_.size()) {
      QPicture with;
      QPainter p(&with);
      p.setRenderHint(QPainter::Antialiasing);
      p.setBrush(paper().text);
      p.setPen(Qt::NoPen);
      p.drawEllipse(QPointF(4, 8), 2, 2);
      p.drawPicture(0, 0, pieces_[first].drawing);
      p.end();
      pieces_[first].drawing = with;
    }
    gap(3);
  }
  gap(4);
}

void ReportPages::markdown(const QString& words) {
  if (words.trimmed().isEmpty()) return;
  QTextDocument d;
  d.setDefaultFont(paperFont(10));
  // Nothing is loaded: a document without a parent knows no resources, and pictures of a note stay away.
  d.setMarkdown(words.left(kMostText), QTextDocument::MarkdownFeatures(QTextDocument::MarkdownNoHTML | QTextDocument::MarkdownDialectGitHub));
  text(d, false);
  gap(8);
}

void ReportPages::code(const QString& words) {
  if (words.isEmpty()) return;
  QTextDocument d;
  QFont f = monoFont();
  f.setPointSizeF(8);
  d.setDefaultFont(f);
  d.setPlainText(words.left(4000));
  QTextOption wrap;
  wrap.setWrapMode(QTextOption::WrapAtWordBoundaryOrAnywhere);
  d.setDefaultTextOption(wrap);
  text(d, false);
  gap(6);
}

void ReportPages::table(const Table& table, int most) {
  const size_t columns = std::min<size_t>(table.columns.size(), 12);
  if (columns == 0) return;
  const QFont head = paperFont(8, true), body = paperFont(8.5);
  const QFontMetricsF headSize(head), bodySize(body);
  std::vector<std::vector<QString>> rows;
  std::vector<double> width(columns, 0);
  std::vector<QString> names(columns);
  for (size_t c = 0; c < columns; ++c) {
    const Column& col = table.columns[c];
    names[c] = QString::fromStdString(col.unit.empty() ? col.name : col.name + " (" + col.unit + ")").left(60);
    width[c] = headSize.horizontalAdvance(names[c]);
  }
  for (size_t r = 0; r < std::min<size_t>(table.rows.size(), static_cast<size_t>(most)); ++r) {
    std::vector<QString> cells(columns);
    for (size_t c = 0; c < columns && c < table.rows[r].size(); ++c) {
      cells[c] = cellText(table.rows[r][c]);
      width[c] = std::max(width[c], bodySize.horizontalAdvance(cells[c]));
    }
    rows.push_back(std::move(cells));
  }
  double sum = 0;
  for (double& w : width) sum += (w = std::min(w, kInner / 3) + 12);
  const double scale = std::min(1.0, kInner / sum), line = bodySize.height() + 5;
  const auto draw = [&](QPainter& p, const std::vector<QString>& cells, size_t r, bool isHead) {
    double x = 0;
    p.setFont(isHead ? head : body);
    p.setPen(isHead ? paper().muted : paper().text);
    for (size_t c = 0; c < columns; ++c) {
      const double w = width[c] * scale;
      const bool number = isHead ? !table.rows.empty() && c < table.rows[0].size() && !std::holds_alternative<std::string>(table.rows[0][c])
                                 : c < table.rows[r].size() && !std::holds_alternative<std::string>(table.rows[r][c]);
      const QRectF box(x, 0, w - 10, line);
      p.drawText(box, static_cast<int>(Qt::AlignVCenter | (number ? Qt::AlignRight : Qt::AlignLeft)),
                 p.fontMetrics().elidedText(cells[c], Qt::ElideRight, static_cast<int>(w - 10)));
      x += w;
    }
    p.setPen(QPen(paper().faint, 0.7));
    p.drawLine(QPointF(0, line - 0.5), QPointF(std::min(x, kInner), line - 0.5));
  };
  for (size_t r = 0; r < rows.size() + 1; ++r) {
    Piece piece;
    piece.height = line;
    piece.keepWithNext = r == 0;
    QPainter p(&piece.drawing);
    draw(p, r == 0 ? names : rows[r - 1], r == 0 ? 0 : r - 1, r == 0);
    p.end();
    pieces_.push_back(std::move(piece));
  }
  gap(4);
  if (table.rows.size() > rows.size())
    paragraph(QObject::tr("%1 of %2 rows; the others are in the project.").arg(rows.size()).arg(table.rows.size()), true);
  gap(6);
}

void ReportPages::picture(const View& view, const QString& caption) {
  const QSizeF size = view.pictureSize();
  if (size.isEmpty()) return;
  const double scale = std::min({1.0, kInner / size.width(), (kRoom - 48) / size.height()});
  Piece piece;
  piece.height = size.height() * scale;
  piece.keepWithNext = true;
  QPainter p(&piece.drawing);
  p.setRenderHint(QPainter::Antialiasing);
  p.scale(scale, scale);
  p.fillRect(QRectF(QPointF(), size), Theme::of(&view).surface);
  view.drawPicture(p, size);
  p.end();
  pieces_.push_back(std::move(piece));
  gap(4);
  paragraph(caption, true);
  gap(8);
}

std::vector<ReportPage> ReportPages::pages(const QString& footer) const {
  std::vector<std::vector<std::pair<double, const Piece*>>> layout(1);
  double y = 0;
  for (size_t i = 0; i < pieces_.size();) {
    // What belongs together moves to the next page together.
    size_t end = i;
    double block = 0;
    while (end < pieces_.size() && pieces_[end].keepWithNext) block += pieces_[end++].height;
    if (end < pieces_.size()) block += pieces_[end++].height;
    if (y > 0 && y + block > kRoom) {
      layout.emplace_back();
      y = 0;
    }
    for (; i < end; ++i) {
      const Piece& piece = pieces_[i];
      if (y == 0 && piece.drawing.isNull()) continue;   // no gap at the top of a page
      if (y > 0 && y + piece.height > kRoom) {
        layout.emplace_back();
        y = 0;
      }
      layout.back().push_back({y, &piece});
      y += piece.height;
    }
  }
  std::vector<ReportPage> out;
  for (size_t n = 0; n < layout.size(); ++n) {
    ReportPage page;
    for (const auto& [top, piece] : layout[n])
      if (!piece->drawing.isNull()) page.pieces.push_back({top, piece->drawing});
    page.footer = footer;
    page.number = QStringLiteral("%1 / %2").arg(n + 1).arg(layout.size());
    out.push_back(std::move(page));
  }
  return out;
}

void ReportPage::draw(QPainter& p) const {
  for (const auto& [top, drawing] : pieces) {
    p.save();
    p.translate(ReportPages::kMargin, ReportPages::kMargin + top);
    // A picture is read through a buffer that its copies share: one of our own, since a PDF may be written meanwhile.
    QPicture own;
    own.setData(drawing.data(), drawing.size());
    own.play(&p);
    p.restore();
  }
  p.setFont(paperFont(8));
  p.setPen(paper().muted);
  const QRectF foot(ReportPages::kMargin, ReportPages::kHeight - ReportPages::kMargin + 16, kInner, 20);
  p.drawText(foot, Qt::AlignLeft, p.fontMetrics().elidedText(footer, Qt::ElideRight, static_cast<int>(kInner - 80)));
  p.drawText(foot, Qt::AlignRight, number);
}

bool writePdf(const std::vector<ReportPage>& pages, const QString& title, const QString& path, QString* why) {
  QByteArray bytes;
  {
    QBuffer buffer(&bytes);
    buffer.open(QIODevice::WriteOnly);
    QPdfWriter writer(&buffer);
    writer.setTitle(title);
    writer.setCreator(QStringLiteral("Microtome"));
    writer.setPageSize(QPageSize(QPageSize::A4));
    writer.setPageMargins(QMarginsF());
    // A picture is played at the ratio of the two resolutions: the same one leaves it as it was recorded.
    writer.setResolution(QPicture().logicalDpiX());
    QPainter p(&writer);
    for (size_t i = 0; i < pages.size(); ++i) {
      if (i) writer.newPage();
      p.save();
      p.scale(writer.width() / ReportPages::kWidth, writer.height() / ReportPages::kHeight);
      pages[i].draw(p);
      p.restore();
    }
  }
  QSaveFile file(path);
  if (bytes.isEmpty() || !file.open(QIODevice::WriteOnly) || file.write(bytes) != bytes.size() || !file.commit()) {
    if (why) *why = QObject::tr("%1 can't be written (%2): choose another place.").arg(QDir::toNativeSeparators(path), file.errorString());
    return false;
  }
  return true;
}

}  // namespace microtome::desktop
