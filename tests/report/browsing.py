"""What tests ask a page in headless Chromium."""

import json
import time


def until(condition):
    """Wait for what the page does on its own time: drawing after layout, decoding the image."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "the page did not get there in 10 s"
        time.sleep(0.05)


def painted(browser, canvas=".base") -> int:
    """Count the pixels of the first map that are not empty."""
    return browser.execute_script(
        "const c = document.querySelector(arguments[0]);"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n", canvas,
    )  # fmt: skip


def pixel(browser, x: float, y: float) -> list[int]:
    """Colour of the first map at CSS pixels from its top left corner."""
    return browser.execute_script(
        "const c = document.querySelector('.base'), r = window.devicePixelRatio;"
        "return [...c.getContext('2d').getImageData(arguments[0] * r, arguments[1] * r, 1, 1).data]", x, y,
    )  # fmt: skip


def complaints(browser) -> list[dict]:
    """What the browser's console says of the page; not of us, who read pixels back again and again."""
    return [entry for entry in browser.get_log("browser") if "Multiple readback" not in entry["message"]]


def requested(browser) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def spot_place(browser, adata, spot: int) -> tuple[float, float]:
    """Where a spot must be on the map, worked out from its coordinates: the frame is 1.5 pitches of 50 around all."""
    points = adata.obsm["spatial"]
    low, high = points.min(axis=0) - 75, points.max(axis=0) + 75
    box = browser.execute_script("const r = document.querySelector('.over').getBoundingClientRect(); return [r.width]")
    return tuple((points[spot] - low) * box[0] / (high - low)[0])


def point_at(browser, place):
    from selenium.webdriver.common.action_chains import ActionChains

    over = browser.find_element("css selector", ".over")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", over)
    size = over.size
    x, y = round(place[0] - size["width"] / 2), round(place[1] - size["height"] / 2)
    ActionChains(browser).move_to_element_with_offset(over, x, y).perform()


def tooltip(browser) -> str:
    return browser.find_element("css selector", ".tooltip").text


def rgb(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def drag(browser, places) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    over = browser.find_element("css selector", ".over")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", over)
    steps = [(round(x - over.size["width"] / 2), round(y - over.size["height"] / 2)) for x, y in places]
    chain = ActionChains(browser).move_to_element_with_offset(over, *steps[0]).click_and_hold()
    for step in steps[1:]:
        chain = chain.move_to_element_with_offset(over, *step)
    chain.release().perform()


def saved(browser, button: str) -> str:
    """Press a button that saves a file, and return the file as base64."""
    return browser.execute_async_script(
        "const done = arguments[1]; const made = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { URL.createObjectURL = made; const reader = new FileReader();"
        " reader.onload = () => done(reader.result.split(',')[1]); reader.readAsDataURL(blob); return 'data:,'; };"
        "document.querySelector(arguments[0]).click()", button,
    )  # fmt: skip
