// report_pages.h — a report as pages: headings, text, tables and pictures flow down A4 pages. Everything is recorded once as
// drawing commands, so that a preview and a PDF show the same, and a PDF can be written by a worker thread.
#pragma once

#include <QPicture>
#include <QSizeF>
#include <QString>
#include <QStringList>
#include <utility>
#include <vector>

#include "core/base/artifact.h"

class QTextDocument;

namespace microtome::desktop {

class View;

// One page: recorded pieces and where they stand. Cheap to copy; draw() plays copies of its own, so any thread may.
struct ReportPage {
  std::vector<std::pair<double, QPicture>> pieces;     // y below the margin
  QString footer, number;
  // In points of ReportPages::kWidth × kHeight.
  void draw(QPainter& painter) const;
};

// GUI thread while pages are made; what pages() gives is plain data afterwards.
class ReportPages {
 public:
  // A4 at 96 dots an inch, margins included.
  static constexpr double kWidth = 794, kHeight = 1123, kMargin = 64;

  ReportPages();
  void heading(const QString& text, int level);        // 1: title, 2: section, 3: run
  void paragraph(const QString& text, bool muted = false);
  void bullets(const QStringList& lines);
  void markdown(const QString& text);                  // no HTML, no pictures
  void code(const QString& text);
  // At most `rows` rows; what is left out is said below it. Numbers to the right, units in the header.
  void table(const Table& table, int rows = 24);
  // The view as it stands, scaled down to the page's width where it is wider; caption below.
  void picture(const View& view, const QString& caption);
  void gap(double height);
  // Laid out, not drawn: quick for a report of any length.
  std::vector<ReportPage> pages(const QString& footer) const;

 private:
  struct Piece {
    QPicture drawing;                  // at its own origin
    double height = 0;
    bool keepWithNext = false;         // a heading never ends a page
  };
  void text(QTextDocument& document, bool keepWithNext, double indent = 0);
  std::vector<Piece> pieces_;
};

// Writes pages as a PDF beside `path` and moves it into place. False with one sentence in `why`. Any thread.
bool writePdf(const std::vector<ReportPage>& pages, const QString& title, const QString& path, QString* why);

}  // namespace microtome::desktop
