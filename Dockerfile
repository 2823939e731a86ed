FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /out/twilio-error-sms . && mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/twilio-error-sms /
# SQLite makes its files in /data, so the folder must belong to the user.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
ENV ADDR=:8080 DATABASE_URL=sqlite:/data/alerts.db
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=6s CMD ["/twilio-error-sms", "healthcheck"]
ENTRYPOINT ["/twilio-error-sms"]
