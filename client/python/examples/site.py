"""What a site does, in one file: GET /SEED.jpg from one handle for all visitors, each of whom the
broker treats as a client of his own. A visitor who leaves takes his request back. (A real site lets
a web framework read HTTP.)"""
import asyncio
import sys

from seedpress import AsyncSeedpress, SeedpressError


async def picture(sp: AsyncSeedpress, path: str, visitor: str) -> tuple[int, str, bytes]:
    name, dot, ending = path.strip("/").partition(".")
    if not name.isdigit() or ending != "jpg":
        return 404, "text/plain", b"ask for /42.jpg\n"
    try:
        image = await sp.generate("avatars64", int(name), psi=0.7, visitor=visitor)
    except SeedpressError as error:
        return error.http_status, "text/plain", f"{error.message}\n".encode()
    return 200, "image/jpeg", image.data


async def serve(sp: AsyncSeedpress, reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter) -> None:
    request = (await reader.readline()).decode("latin-1").split()
    answer = asyncio.create_task(picture(sp, request[1] if len(request) > 1 else "/",
                                         writer.get_extra_info("peername")[0]))
    closed = asyncio.create_task(left(reader))
    await asyncio.wait({answer, closed}, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        answer.cancel()              # nobody is there any more
    else:
        status, kind, body = answer.result()
        writer.write(f"HTTP/1.1 {status} \r\nContent-Type: {kind}\r\nConnection: close\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    closed.cancel()
    writer.close()


async def left(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):   # the rest of the request, which we do not need
        pass


async def main(port: int) -> None:
    async with AsyncSeedpress() as sp:
        server = await asyncio.start_server(lambda r, w: serve(sp, r, w), "127.0.0.1", port)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/42.jpg", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000))
