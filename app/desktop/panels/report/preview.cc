#include "app/desktop/panels/report/preview.h"

#include <QPaintEvent>
#include <QScrollBar>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {

// A page is replayed once into a pixmap at the width it has; what is out of sight costs nothing.
class PageColumn : public QWidget {
 public:
  std::vector<ReportPage> pages;
  std::vector<QPixmap> drawn;
  bool busy = false;

  double pageWidth() const { return std::max(120, width() - 4 * kGrid); }
  double pageHeight() const { return pageWidth() * ReportPages::kHeight / ReportPages::kWidth; }
  void layOut() {
    drawn.assign(pages.size(), {});
    setFixedHeight(static_cast<int>(static_cast<double>(pages.size()) * (pageHeight() + 2 * kGrid)) + 2 * kGrid);
    update();
  }

 protected:
  void resizeEvent(QResizeEvent*) override { layOut(); }
  void paintEvent(QPaintEvent* event) override {
    const Theme& t = Theme::of(this);
    QPainter p(this);
    p.fillRect(event->rect(), t.raised);
    if (pages.empty()) {
      p.setPen(t.muted);
      p.drawText(visibleRegion().boundingRect(), Qt::AlignCenter, busy ? tr("Putting the pages together…") : tr("Tick a run or a picture to see the pages."));
      return;
    }
    const double w = pageWidth(), h = pageHeight(), ratio = devicePixelRatioF();
    for (size_t i = 0; i < pages.size(); ++i) {
      const QRectF box(2 * kGrid, 2 * kGrid + static_cast<double>(i) * (h + 2 * kGrid), w, h);
      if (!box.intersects(event->rect())) continue;
      if (drawn[i].isNull()) {
        drawn[i] = QPixmap((QSizeF(w, h) * ratio).toSize());
        drawn[i].setDevicePixelRatio(ratio);
        drawn[i].fill(Qt::white);
        QPainter page(&drawn[i]);
        page.setRenderHints(QPainter::Antialiasing | QPainter::SmoothPixmapTransform);
        page.scale(w / ReportPages::kWidth, h / ReportPages::kHeight);
        pages[i].draw(page);
      }
      p.drawPixmap(box.topLeft(), drawn[i]);
      p.setPen(t.faint);
      p.drawRect(box);
    }
    if (busy) {
      p.fillRect(QRect(0, visibleRegion().boundingRect().top(), width(), 3), t.accent);
    }
  }
};

PagePreview::PagePreview(QWidget* parent) : QScrollArea(parent), column_(new PageColumn) {
  setObjectName(QStringLiteral("report_preview"));
  setAccessibleName(tr("Pages of the report"));
  setWidget(column_);
  setWidgetResizable(true);
  setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  setFocusPolicy(Qt::StrongFocus);
}

void PagePreview::setPages(std::vector<ReportPage> pages) {
  const int at = verticalScrollBar()->value();
  column_->pages = std::move(pages);
  column_->busy = false;
  column_->layOut();
  verticalScrollBar()->setValue(at);
}

void PagePreview::setBusy(bool busy) {
  column_->busy = busy;
  column_->update();
}

int PagePreview::pageCount() const { return static_cast<int>(column_->pages.size()); }

void PagePreview::resizeEvent(QResizeEvent* event) {
  QScrollArea::resizeEvent(event);
  column_->layOut();
}

}  // namespace microtome::desktop
