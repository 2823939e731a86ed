
const pause = document.getElementById("pause"), refresh = document.getElementById("refresh")
let paused = refresh.textContent == "paused"
pause.addEventListener("click", event => {
  event.preventDefault()
  paused = !paused
  refresh.textContent = paused ? "paused" : "refreshes every 30 s"
  pause.textContent = paused ? "go on" : "pause"
})

// A refresh keeps what is open and where the reader is, and waits while a form
// or selected text is in use.
setInterval(async () => {
  const active = document.activeElement
  if (paused || active.form || !getSelection().isCollapsed) return
  try {
    const answer = await fetch(location)
    if (!answer.ok) throw new Error(await answer.text())
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html")
    const focused = active.closest("details")?.id
    for (const open of document.querySelectorAll("main details[open]")) fresh.getElementById(open.id)?.setAttribute("open", "")
    for (const part of ["title", "link[rel=icon]", "#asof", "main"]) document.querySelector(part).replaceWith(fresh.querySelector(part))
    if (focused) document.getElementById(focused)?.querySelector("summary").focus({preventScroll: true})
  } catch (err) {
    document.title = "✗ unreachable · Twilio errors by SMS"
    const health = document.getElementById("health")
    health.className = "problem"
    health.querySelector("b").textContent = `✗ Unreachable (${err.message}), what follows is old:`
  }
}, 30000)
